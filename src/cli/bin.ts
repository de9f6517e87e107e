#!/usr/bin/env node
/** `mcp-oidc-proxy`, the package's command: without a name of a subcommand it starts the server. */

/** Each runs when it is imported, and reads its own arguments. */
const COMMANDS: Readonly<Record<string, () => Promise<unknown>>> = {
  start: () => import("./start.ts"),
  doctor: () => import("./doctor.ts"),
  admin: () => import("./admin.ts"),
  demo: () => import("../../dev/demo/demo.ts").catch(sayWhatIsMissing),
  dev: () => import("../../dev/watch/dev.ts").catch(sayWhatIsMissing),
  walkthrough: () => import("../../dev/walkthrough/walkthrough.ts"),
};

const HELP = `mcp-oidc-proxy [start] [--tools FILE]   the server, with the tools that FILE exports (TOOLS_MODULE)
mcp-oidc-proxy doctor [token TOKEN|-]   what is wrong with a configuration, or with a token (--tools FILE as above)
mcp-oidc-proxy admin …                  look at, and change, what a deployment holds
mcp-oidc-proxy demo [--tools FILE]      a trial on this computer, with an identity provider where anybody signs in
mcp-oidc-proxy dev --tools FILE         the same for writing tools: the server is replaced when a file changes
mcp-oidc-proxy walkthrough [--as …]     a client goes all the way against a running demo, every hop explained
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

/** The embedded identity provider is an optional dependency: a production install leaves it out. */
function sayWhatIsMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== "ERR_MODULE_NOT_FOUND" || !error.message.includes("'oidc-provider'")) throw error;
  process.stderr.write(
    `${name} needs the embedded identity provider, which is not installed here: npm install --no-save oidc-provider@9\n`,
  );
  process.exit(1);
}
