/**
 * One of examples/ as it is, beside the embedded identity provider and with the memory store, so that it can be tried
 * without a configuration.
 */
import { type ChildProcess, type StdioOptions, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { startIdentityProvider } from "./identity-provider/identity-provider.ts";

/** What runs, each a process of its own. */
export const EXAMPLES: Readonly<Record<string, readonly string[][]>> = {
  minimal: [["examples/minimal.mts"]],
  "asks-first": [["examples/asks-first.mts"]],
  "existing-server": [["examples/existing-server.mts"]],
  "backend-api": [["examples/backend.mts"], ["examples/backend-api.mts"]],
  policy: [["src/cli/bin.ts", "--tools", "examples/policy/tools.mts"]],
  express: [["examples/express.mts"]],
};

const SCOPES = [
  "greetings:read",
  "orders:read",
  "orders:write",
  "orders:refund",
  "notes:read",
  "wiki:read",
  "wiki:write",
];
const AUDIENCE = "https://api.example.com";

export interface RunningExample {
  baseUrl: string;
  processes: ChildProcess[];
  /** Passes the signal on to every process. */
  kill(signal: NodeJS.Signals): void;
  /** The highest exit code, when all have ended; the identity provider goes with them. */
  ended: Promise<number>;
}

/**
 * @param port for the example; the next two are for the identity provider and for a backend
 * @param argumentsOf what Node is given to run a command: the sources, compiled on the way, if nothing else is said
 */
export async function startExample(
  commands: readonly string[][],
  port: number,
  stdio: StdioOptions,
  argumentsOf = (command: readonly string[]): readonly string[] => ["--import", "tsx", ...command],
): Promise<RunningExample> {
  const baseUrl = `http://localhost:${port}`;
  const client = { id: "mcp-oidc-proxy", secret: randomBytes(32).toString("base64url") };
  const identityProvider = await startIdentityProvider({
    port: port + 1,
    client: { ...client, redirectUris: [`${baseUrl}/auth/callback`] },
    audience: AUDIENCE,
    scopes: SCOPES,
    users: [
      { subject: "alice", name: "Alice Example", email: "alice@example.com", permissions: SCOPES },
      {
        subject: "bob",
        name: "Bob Example",
        email: "bob@example.com",
        permissions: SCOPES.filter((scope) => scope.startsWith("wiki:")),
      },
    ],
    behaviour: { advertisesApiScopes: true },
  });
  const environment = {
    ...process.env,
    BASE_URL: baseUrl,
    PORT: String(port),
    HOST: "127.0.0.1",
    STORE: "memory",
    SECRET_KEY: randomBytes(48).toString("base64url"),
    OIDC_ISSUER: identityProvider.issuer,
    OIDC_CLIENT_ID: client.id,
    OIDC_CLIENT_SECRET: client.secret,
    OIDC_AUDIENCE: AUDIENCE,
    POLICY_FILE: commands === EXAMPLES.policy ? "examples/policy/policy.yaml" : "",
    BACKEND_PORT: String(port + 2),
  };
  const processes = commands.map((command) =>
    spawn(process.execPath, argumentsOf(command), { env: environment, stdio }),
  );
  return {
    baseUrl,
    processes,
    kill(signal) {
      for (const each of processes) each.kill(signal);
    },
    ended: Promise.all(processes.map(end)).then(async (codes) => {
      await identityProvider.close();
      return Math.max(...codes);
    }),
  };
}

/** The exit code; 0 for a process that a signal ended. */
function end(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => child.once("exit", (code) => resolve(code ?? 0)));
}
