/** An MCP server over stdio that stays as it is, with the SDK's own transport, and with bad habits on demand. */

import { spawn } from "node:child_process";
import { appendFileSync } from "node:fs";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { z } from "zod";

const [, , journal] = process.argv;
const note = (what) => journal && appendFileSync(journal, `${what}\n`);
const server = new McpServer(
  { name: "files", version: "1" },
  { capabilities: { logging: {} }, instructions: "Be kind." },
);
const text = (said) => ({ content: [{ type: "text", text: String(said) }] });
let counter = 0;

server.registerTool("count", { description: "Counts" }, () => text(++counter));
server.registerTool("pid", { description: "Its process" }, () => text(process.pid));
server.registerTool("env", { description: "Its environment" }, () => text(JSON.stringify(process.env)));
server.registerTool("steps", { description: "Reports" }, async ({ sendNotification, _meta }) => {
  for (const progress of [1, 2])
    await sendNotification({
      method: "notifications/progress",
      params: { progressToken: _meta?.progressToken ?? "none", progress, total: 2 },
    });
  return text("done");
});
server.registerTool("echo", { description: "Says it again", inputSchema: { said: z.string() } }, ({ said }) =>
  text(said),
);
server.registerTool("wait", { description: "Never ends" }, ({ signal }) => {
  note("waits");
  return new Promise(() => signal.addEventListener("abort", () => note("cancelled")));
});
server.registerTool("ask", { description: "Asks" }, async () => {
  try {
    await server.server.request({ method: "roots/list" }, z.any());
    return text("answered");
  } catch (error) {
    return text(error.code);
  }
});
server.registerTool("die", { description: "Ends its process" }, () => process.exit(7));
server.registerTool("noise", { description: "Writes to stdout" }, () => {
  process.stdout.write(
    'hello\n{"jsonrpc":"2.0"}\n[1]\n{"jsonrpc":"2.0","id":99999,"result":{}}\nnull\n{"id":1}\n',
  );
  return text("quiet");
});
server.registerTool("flood", { description: "Writes to stderr" }, () => {
  for (let line = 0; line < 500; line++) process.stderr.write(`${"x".repeat(5_000)}\n`);
  return text("flooded");
});
server.registerTool("long", { description: "Says more than it may" }, () => text("x".repeat(100_000)));
server.registerTool("stubborn", { description: "Ignores SIGTERM, and leaves a program behind" }, () => {
  process.on("SIGTERM", () => note("ignored"));
  setInterval(() => {}, 1_000);
  const { pid } = spawn("sleep", ["600"], { stdio: "inherit" });
  return text(pid);
});
server.registerTool("forgotten", { description: "Nothing names it" }, () => text("forgotten"));
server.registerTool("secret", { description: "Needs more" }, () => text("secret"));
server.registerPrompt("greet", { argsSchema: { name: z.string() } }, ({ name }) => ({
  messages: [{ role: "user", content: { type: "text", text: `Greet ${name}` } }],
}));
server.registerResource("readme", "files:///readme", {}, ({ href }) => ({
  contents: [{ uri: href, text: "readme" }],
}));

process.stdout.write("Welcome!\n");
await server.connect(new StdioServerTransport());
