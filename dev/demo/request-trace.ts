/**
 * The request trace of `npm run dev`: one line for each request in the words of the walkthrough (who → what → result), made
 * from the log lines that the server writes in production. Pure, except that it remembers the names of clients.
 */
import { styleText } from "node:util";
import { harmless } from "../../src/runtime/terminal-text.ts";

/** As pino writes it. */
type Line = Record<string, unknown> & { level: number; time: number; msg?: string };

type Style = Parameters<typeof styleText>[0];

const WARN = 40;

/** Takes pino's lines; `print` gets text without an end of line. */
export function hopLog(print: (text: string) => void, colour: boolean): { write(line: string): void } {
  const names = new Map<string, string>();
  const decisions = new Map<string, Line[]>();
  const paint = (style: Style, text: string) => (colour ? styleText(style, text) : text);

  function who({ subject, clientId, clientName }: Line): string {
    const id = text(clientId);
    const principal = text(subject);
    // A program that acts for itself comes through no other client: its own is named after it, or after its issuer and it.
    const isItself = principal !== undefined && (id === principal || id?.endsWith(`#${principal}`));
    const client = isItself ? undefined : (text(clientName) ?? names.get(id ?? "") ?? id?.slice(0, 40));
    const named = [principal, client];
    return named.filter((each) => each !== undefined).join(" · ") || "somebody";
  }

  function step(request: Line): string {
    const requestId = String(request.requestId);
    const decided = decisions.get(requestId) ?? [];
    decisions.delete(requestId);
    // Later ones know more: who signed in, with which client.
    const all: Line = Object.assign({}, ...decided, request, {
      reason: request.reason ?? decided.at(-1)?.reason,
    });
    const result = resultOf(all, decided);
    const mark = result.good ? paint("green", "→") : paint("yellow", "→");
    const took = paint("dim", `${request.durationMs} ms`);
    return `${clock(request.time)}  ${who(all).padEnd(24)}  ${whatOf(all)} ${mark} ${result.words}  ${took}`;
  }

  function trouble({ msg, reason, cause, err, level }: Line): string {
    const { stack } = (err ?? {}) as { stack?: string };
    const about = [text(reason), text(cause)].filter((each) => each !== undefined).join(": ");
    const head = `${paint(level > WARN ? "red" : "yellow", "!")} ${msg}${about && ` (${about})`}`;
    return stack === undefined
      ? head
      : `${head}
${stack}`;
  }

  return {
    write(json) {
      const line: Line = JSON.parse(json, withoutControls);
      if (line.audit !== undefined) {
        const { requestId, clientId, clientName } = line;
        if (typeof clientId === "string" && typeof clientName === "string") names.set(clientId, clientName);
        decisions.set(String(requestId), [...(decisions.get(String(requestId)) ?? []), line]);
      } else if (line.msg === "request") print(step(line));
      else if (line.level >= WARN) print(trouble(line));
    },
  };
}

/** Names of strangers do nothing to the terminal. */
function withoutControls(name: string, value: unknown): unknown {
  if (typeof value !== "string") return value;
  return name === "stack" ? value.split("\n").map(harmless).join("\n") : harmless(value);
}

function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function clock(time: number): string {
  return new Date(time).toTimeString().slice(0, 8);
}

const PATHS: ReadonlyArray<readonly [RegExp, string]> = [
  [/^\/\.well-known\/oauth-protected-resource/, "asks the resource who issues its tokens"],
  [/^(\/mcp)?\/\.well-known\//, "asks the authorization server what it offers"],
  [/^\/register/, "registers as a client"],
  [/^\/authorize$/, "sends the browser: consent"],
  [/^\/consent$/, "sends the browser on to the identity provider"],
  [/^\/auth\/callback$/, "comes back from the identity provider"],
  [/^\/token$/, "asks for tokens"],
  [/^\/revoke$/, "signs out"],
  [/^\/introspect$/, "asks what a token is worth"],
  [/^\/$/, "looks at the page for people"],
];

const MCP: Readonly<Record<string, string>> = {
  initialize: "initializes MCP",
  "server/discover": "asks what there is",
  "tools/list": "lists the tools",
  "resources/list": "lists the resources",
  "prompts/list": "lists the prompts",
};

/** What /token is asked with; what else it may be is in {@link PATHS}. */
const GRANT_TYPES: Readonly<Record<string, string>> = {
  authorization_code: "exchanges the code for tokens",
  refresh_token: "refreshes the tokens",
  client_credentials: "asks for a token in its own name",
  "urn:ietf:params:oauth:grant-type:jwt-bearer": "presents an assertion for a token",
};

function whatOf(line: Line): string {
  const { path, method, grantType } = line;
  // Each resource of the demo ends so; which one it was is said of those beside the first.
  if (/\/mcp$/.test(String(path))) {
    const what = whatOfMcp(line);
    return what === undefined ? `${method} ${path}` : `${what}${path === "/mcp" ? "" : ` at ${path}`}`;
  }
  const asked = path === "/token" ? GRANT_TYPES[String(grantType)] : undefined;
  return asked ?? PATHS.find(([pattern]) => pattern.test(String(path)))?.[1] ?? `${method} ${path}`;
}

function whatOfMcp({ mcpMethod, tool, resource, prompt, reason, arguments: args }: Line): string | undefined {
  const called = text(tool) ?? text(resource) ?? text(prompt);
  if (called !== undefined) return `calls ${called}${given(args)}`;
  if (reason === "no_token") return "calls without a token";
  return MCP[String(mcpMethod)] ?? text(mcpMethod);
}

const MOST_SHOWN = 200;

function given(args: unknown): string {
  if (args === undefined) return "";
  const json = JSON.stringify(args);
  return ` ${json.length > MOST_SHOWN ? `${json.slice(0, MOST_SHOWN)}…` : json}`;
}

function resultOf(line: Line, decided: readonly Line[]): { words: string; good: boolean } {
  const { status, outcome, reason, subject, path } = line;
  const why = text(reason);
  if (outcome === "error") return { words: "the tool says: error", good: false };
  const denied = decided.some(({ decision }) => decision === "deny");
  if (Number(status) >= 400 || denied) return { words: [status, why].filter(Boolean).join(" "), good: false };
  if (path === "/auth/callback" && subject !== undefined)
    return { words: `signed in as ${subject}`, good: true };
  const scopes =
    Array.isArray(line.scopes) && path === "/token" ? ` (${line.scopes.join(" ") || "no scopes"})` : "";
  const remark = why === undefined || path === "/revoke" ? "" : `, ${why}`;
  return { words: `ok${scopes}${remark}`, good: true };
}
