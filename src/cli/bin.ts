#!/usr/bin/env node
/** `mcp-oidc-proxy`, the package's command: without a name of a subcommand it starts the server. */
import { keepCompiledModules } from "./compile-cache.ts";
import { HELP } from "./help.ts";

keepCompiledModules();

/** Each runs when it is imported, and reads its own arguments. */
const COMMANDS: Readonly<Record<string, () => Promise<unknown>>> = {
  start: () => import("./start.ts"),
  doctor: () => import("./doctor.ts"),
  admin: () => import("./admin.ts"),
  demo: () => import("../../dev/demo/demo.ts").catch(sayWhatIsMissing),
  dev: () => import("../../dev/watch/dev.ts").catch(sayWhatIsMissing),
  walkthrough: () => import("../../dev/walkthrough/walkthrough.ts"),
};

const [name = "start"] = process.argv.slice(2);
const isOption = name.startsWith("-");
const run = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : isOption ? COMMANDS.start : undefined;

if (["help", "--help", "-h"].includes(name)) process.stdout.write(HELP);
else if (run === undefined) {
  process.stderr.write(`There is no command ${name}.\n\n${HELP}`);
  process.exit(2); // as for an option that there is not
} else {
  // The command sees its own arguments only, as if it had been started by itself.
  if (!isOption) process.argv.splice(2, 1);
  await run();
}

/** The embedded identity provider is an optional dependency: a production install leaves it out. */
function sayWhatIsMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ERR_MODULE_NOT_FOUND" || !error.message.includes("'oidc-provider'")) throw error;
  process.stderr.write(
    `${name} needs the embedded identity provider, which is not installed here: npm install --no-save oidc-provider@9\n`,
  );
  process.exit(1);
}
