#!/usr/bin/env node
/** `mcp-oidc-proxy`, the package's command: without a name of a subcommand it starts the server. */

/** Each runs when it is imported, and reads its own arguments. */
const COMMANDS: Readonly<Record<string, () => Promise<unknown>>> = {
  start: () => import("./main.ts"),
  doctor: () => import("./doctor.ts"),
  admin: () => import("./admin.ts"),
};

const HELP = `mcp-oidc-proxy [start] [--tools FILE]   the server, with the tools that FILE exports (TOOLS_MODULE)
mcp-oidc-proxy doctor [token TOKEN|-]   what is wrong with a configuration, or with a token
mcp-oidc-proxy admin …                  look at, and change, what a deployment holds
mcp-oidc-proxy help

Settings come from the environment and from .env: .env.example in the package explains them.
`;

const [name = "start"] = process.argv.slice(2);
const isOption = name.startsWith("-");
const run = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : isOption ? COMMANDS.start : undefined;

if (["help", "--help", "-h"].includes(name)) process.stdout.write(HELP);
else if (run === undefined) {
  process.stderr.write(`There is no command ${name}.\n\n${HELP}`);
  process.exit(1);
} else {
  // The command sees its own arguments only, as if it had been started by itself.
  if (!isOption) process.argv.splice(2, 1);
  await run();
}
