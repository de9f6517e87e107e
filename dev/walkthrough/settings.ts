/** What the walkthrough is told on its command line and in the environment. */
import { parseArgs } from "node:util";
import { commandLine, isFromSources } from "../command-line.ts";
import { APPLICATION, CRM_PATH, MACHINE, PLATFORM_PATH } from "../demo/callers.ts";
import { CALLERS, type Caller } from "./callers.ts";
import { StepFailure } from "./trace.ts";

export interface Credentials {
  id: string;
  secret: string;
}

export interface Settings {
  as: Caller;
  /** A person, whose tool calls another API in their name. */
  exchange: boolean;
  /** A person, who calls the tools of the server behind the demo's. */
  backend: boolean;
  /** The MCP endpoint. */
  url: string;
  /** Sign in without a person where that is possible: at the demo. */
  automatic: boolean;
  /** Whom to sign in as at the demo. */
  login: string;
  /** Instead of what the demo knows: of the client at the server. */
  client?: Credentials;
  /** Instead of one that the demo's issuers sign. */
  assertion?: string;
  token?: string;
}

/** The port that the demo is expected at, and how it is said. */
const DEFAULT_PORT = 3000;

const walkthrough = commandLine("walkthrough");
/** npm takes options for its own otherwise. */
const separator = isFromSources ? " --" : "";

export function helpText(): string {
  const callers = Object.entries(CALLERS).map(([name, who]) => `  ${name.padEnd(14)} ${who}`);
  return `${walkthrough}${separator} [--as CALLER | --exchange | --backend]

Goes all the way against a running server, prints every request with what its answer means, and ends with 1 if one is not
as the specifications say. CALLER is

${callers.join("\n")}

With --exchange a person signs in, and a tool of the demo calls another API in their name: token exchange, and step-up.
With --backend they call the tools of an MCP server that stands behind the demo's: ${commandLine("demo")}${separator} --backend

Settings, in the environment:

  URL             the server, if it is not http://localhost:${DEFAULT_PORT}; the demo knows every caller
  LOGIN           whom to sign in as at the demo: alice, bob, or any name
  AUTO=0          a person signs in, in a browser of their own

Of another server than the demo:

  CLIENT_ID, CLIENT_SECRET   machine, enterprise: the client, as CLIENTS has it there
  ASSERTION                  enterprise, workload: what an issuer signed that it trusts
  TOKEN                      foreign-token: an access token of such an issuer
`;
}

/** @returns undefined if help is wanted. @throws StepFailure for what cannot be used */
export function readSettings(args: string[], env: NodeJS.ProcessEnv): Settings | undefined {
  const { as, exchange, backend, help } = readArguments(args);
  if (help) return undefined;
  const { url, isLocal } = readUrl(env, backend ? CRM_PATH : "/mcp");
  const { CLIENT_ID: id, CLIENT_SECRET: secret, ASSERTION: assertion, TOKEN: token } = env;
  if (Boolean(id) !== Boolean(secret))
    throw unusable("CLIENT_ID and CLIENT_SECRET, or neither", id ? "CLIENT_ID alone" : "CLIENT_SECRET alone");
  const settings: Settings = {
    as,
    exchange,
    backend,
    url,
    automatic: isLocal && env.AUTO !== "0",
    login: env.LOGIN || "alice",
    ...(id && secret && { client: { id, secret } }),
    ...(assertion && { assertion }),
    ...(token && { token }),
  };
  if (!isLocal) checkComplete(settings);
  return settings;
}

function readArguments(args: string[]): Pick<Settings, "as" | "exchange" | "backend"> & { help: boolean } {
  const flag = { type: "boolean", default: false } as const;
  const options = {
    as: { type: "string" },
    exchange: flag,
    backend: flag,
    help: { ...flag, short: "h" },
  } as const;
  const names = Object.keys(CALLERS).join(", ");
  const { values } = asStepFailure(() => parseArgs({ args, options }), `--as with one of ${names}`);
  const { as = "person", exchange, backend, help } = values;
  if (!Object.hasOwn(CALLERS, as)) throw unusable(`--as with one of ${names}`, as);
  const [walk, another] = [...(exchange ? ["--exchange"] : []), ...(backend ? ["--backend"] : [])];
  if (another !== undefined) throw unusable(`${walk} or ${another}`, "both");
  if (walk !== undefined && as !== "person") throw unusable(`${walk} alone: it is a person who signs in`, as);
  return { as: as as Caller, exchange, backend, help };
}

function asStepFailure<T>(parse: () => T, expected: string): T {
  try {
    return parse();
  } catch (error) {
    throw unusable(expected, error instanceof Error ? error.message : String(error));
  }
}

/** `URL` is the server's base URL, its /mcp URL, or that of the endpoint. */
function readUrl(
  { URL: given, PORT }: NodeJS.ProcessEnv,
  endpoint: string,
): { url: string; isLocal: boolean } {
  const fallback = `http://localhost:${PORT || DEFAULT_PORT}/mcp`;
  const address = given || fallback;
  if (!/^https?:\/\//i.test(address) || !URL.canParse(address))
    throw new StepFailure({
      expected: "URL to be the http(s) address of a server",
      came: address,
      hint: `For example: URL=${fallback} ${walkthrough}`,
    });
  const { origin, pathname, hostname } = new URL(address);
  const path = pathname.replace(/\/+$/, "");
  return {
    url: origin + (path.endsWith(endpoint) ? path : path.replace(/\/mcp$/, "") + endpoint),
    isLocal: /^(localhost|127\.0\.0\.1|\[::1\])$/.test(hostname),
  };
}

/** What a server elsewhere trusts is for its operator to say. */
function checkComplete({ as, client, assertion, token }: Settings): void {
  const missing = (name: string, what: string) =>
    new StepFailure({
      expected: `${name}: ${what}`,
      came: "nothing",
      hint: `Only what the demo trusts is known here. Set ${name} in the environment to go as ${as} elsewhere.`,
    });
  if (client === undefined && (as === "machine" || as === "enterprise"))
    throw missing("CLIENT_ID and CLIENT_SECRET", "a client in CLIENTS of that server");
  if (assertion === undefined && (as === "enterprise" || as === "workload"))
    throw missing("ASSERTION", "what an issuer signed that the server trusts");
  if (token === undefined && as === "foreign-token")
    throw missing("TOKEN", "an access token of an issuer that the server trusts");
}

/** Of the client at the server: what was given, or what the demo has for this caller. */
export function clientFor({ client, as }: Settings): Credentials {
  return client ?? (as === "enterprise" ? APPLICATION : MACHINE);
}

/** Who signs at the demo: its identity provider is at the next port, with the platform under a path of it. */
export function demoIssuers({ url }: Settings): { issuer: string; platform: string } {
  const { port } = new URL(url);
  const issuer = `http://localhost:${Number(port || 80) + 1}`;
  return { issuer, platform: issuer + PLATFORM_PATH };
}

function unusable(expected: string, came: string): StepFailure {
  return new StepFailure({ expected, came, hint: `See: ${walkthrough}${separator} --help` });
}
