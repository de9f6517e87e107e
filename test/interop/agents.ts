/** Agents of the terminal, each with its own commands for the same things: add a server, sign in, call a tool. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { installedPackage } from "../support/installed-package.ts";
import type { Desktop } from "./desktop.ts";
import { node22 } from "./node-22.ts";
import type { ScriptedModel } from "./scripted-model.ts";

const PREFIX = "test/interop/agents";
const SERVER = "weather";

export interface Agent {
  name: string;
  version: string;
  /** Where it describes itself: its client_id where documents are offered. */
  document: string;
  /** The redirect URIs in that document. */
  redirectUris: readonly string[];
  /** What its user and the model read when a tool needs another scope. */
  saysOfScopes: RegExp;
  /** How often it opens the browser before a refusal is its last word. */
  asks: number;
  addServer(desktop: Desktop, url: string): Promise<Ended>;
  /** @param scopes what its user has to name, if it does not know by itself what a tool lacked */
  signIn(desktop: Desktop, scopes?: readonly string[]): Running;
  /** Asks the model something, which calls the tool that it wants. */
  prompt(desktop: Desktop, model: ScriptedModel): Promise<Ended>;
}

export interface Ended {
  code: number | null;
  /** Everything it printed, without colours and in one line. */
  said: string;
}

export interface Running {
  ended: Promise<Ended>;
  /** For an agent that waits for what does not come. */
  stop(): Promise<void>;
}

export const agents: readonly Agent[] = [await claudeCode(), await codex()];

async function claudeCode(): Promise<Agent> {
  const { name, version } = await installedPackage("@anthropic-ai/claude-code", PREFIX);
  // The package's own program is put there by its install script, and scripts of others are not run here.
  const program = inPackages(`${name}-${process.platform}-${process.arch}/claude`);
  const environment = {
    ENABLE_TOOL_SEARCH: "false", // all tools are told to the model at once
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
  };
  const run = (desktop: Desktop, args: readonly string[], more = {}) =>
    start([program, ...args], desktop, { ...environment, ...more });
  return {
    name: "Claude Code",
    version,
    document: "https://claude.ai/oauth/claude-code-client-metadata",
    redirectUris: ["http://localhost/callback", "http://127.0.0.1/callback"],
    saysOfScopes: /needs additional permissions \(scope: "weather:read orders:write"\)/,
    asks: 1,
    addServer: (desktop, url) => run(desktop, ["mcp", "add", "--transport", "http", SERVER, url]).ended,
    // It signs in at a terminal only.
    signIn: (desktop) =>
      start(["script", "-qec", `'${program}' mcp login ${SERVER}`, "/dev/null"], desktop, environment),
    prompt: (desktop, model) =>
      run(desktop, ["-p", "Go", "--allowedTools", `mcp__${SERVER}`], {
        ANTHROPIC_BASE_URL: model.url,
        ANTHROPIC_API_KEY: "none",
      }).ended,
  };
}

async function codex(): Promise<Agent> {
  const { version, program } = await installedPackage("@openai/codex", PREFIX);
  const settings = (values: Record<string, string>) =>
    Object.entries(values).flatMap(([key, value]) => ["-c", `${key}=${value}`]);
  const run = (desktop: Desktop, args: readonly string[]) =>
    start(
      [node22, program("codex"), ...args, ...settings({ mcp_oauth_credentials_store: '"file"' })],
      desktop,
    );
  return {
    name: "Codex",
    version,
    document: "https://chatgpt.com/oauth/codex/client.json",
    redirectUris: ["http://127.0.0.1/callback", "http://localhost/callback"],
    saysOfScopes: /Insufficient scope/,
    // "OAuth provider rejected discovered scopes. Retrying without scopes": whatever the refusal says.
    asks: 2,
    // `codex mcp add` signs in at once; a file does not.
    async addServer(desktop, url) {
      await desktop.write(".codex/config.toml", `[mcp_servers.${SERVER}]\nurl = "${url}"\n`);
      return { code: 0, said: "" };
    },
    signIn: (desktop, scopes = []) =>
      run(desktop, ["mcp", "login", SERVER, ...(scopes.length > 0 ? ["--scopes", scopes.join()] : [])]),
    prompt: (desktop, model) =>
      run(desktop, [
        ...["exec", "--skip-git-repo-check", "Go"],
        ...settings({
          model: '"scripted"',
          model_provider: '"scripted"',
          "model_providers.scripted": `{name="scripted",base_url="${model.url}/v1",wire_api="responses"}`,
          [`mcp_servers.${SERVER}.default_tools_approval_mode`]: '"approve"',
          "analytics.enabled": "false",
          check_for_update_on_startup: "false",
        }),
      ]).ended,
  };
}

function inPackages(path: string): string {
  const file = fileURLToPath(new URL(`agents/node_modules/${path}`, import.meta.url));
  if (!existsSync(file)) throw new Error(`${path} is not installed: npm ci --prefix ${PREFIX}`);
  return file;
}

function start(
  command: readonly string[],
  desktop: Desktop,
  environment: Record<string, string> = {},
): Running {
  const [program = "", ...args] = command;
  const child = spawn(program, args, {
    cwd: desktop.environment.HOME,
    env: { ...desktop.environment, TERM: "xterm", ...environment },
    // Nothing is typed. Codex would read its prompt to the end of what is; Claude Code's terminal would end with it.
    stdio: [program === "script" ? "pipe" : "ignore", "pipe", "pipe"],
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.on("data", (chunk) => {
      said += chunk;
    });
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, said: plain(said) }));
  });
  return {
    ended,
    async stop() {
      child.kill("SIGTERM");
      await ended;
    },
  };
}

function plain(said: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal's colours, links and cursor movements
  const controls = /\x1b\][^\x07\x1b]*(\x07|\x1b\\)|\x1b\[[\d;?]*[a-zA-Z]/g;
  return said.replaceAll(controls, "").replaceAll(/\s+/g, " ");
}
