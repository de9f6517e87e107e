/** `npm run example -- minimal`: starts one of examples/ and what it needs; Ctrl+C stops it all. */
import { EXAMPLES, startExample } from "./start-example.ts";

const name = process.argv[2] ?? "";
const commands = Object.hasOwn(EXAMPLES, name) ? EXAMPLES[name] : undefined;
if (commands === undefined) {
  console.error(`Name one of them: npm run example -- ${Object.keys(EXAMPLES).join(" | ")}`);
  process.exit(1);
}
const example = await startExample(commands, Number(process.env.PORT || 3000), "inherit");
console.log(`Sign in as alice, or as bob, who may do less. The MCP endpoint: ${example.baseUrl}/mcp`);
for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => example.kill(signal));
process.exitCode = await example.ended;
