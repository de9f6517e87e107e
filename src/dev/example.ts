/**
 * `npm run example -- minimal`: one of examples/ as it is, beside the embedded identity provider and with the memory
 * store, so that it can be tried without a configuration.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { startIdentityProvider } from "./identity-provider.ts";

/** What runs, each a process of its own. */
const EXAMPLES: Readonly<Record<string, readonly string[][]>> = {
  minimal: [["examples/minimal.mts"]],
  "asks-first": [["examples/asks-first.mts"]],
  "existing-server": [["examples/existing-server.mts"]],
  "backend-api": [["examples/backend.mts"], ["examples/backend-api.mts"]],
  policy: [["src/bin.ts", "--tools", "examples/policy/tools.mts"]],
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

const name = process.argv[2] ?? "";
const commands = Object.hasOwn(EXAMPLES, name) ? EXAMPLES[name] : undefined;
const port = Number(process.env.PORT || 3000);
if (commands === undefined) {
  console.error(`Name one of them: npm run example -- ${Object.keys(EXAMPLES).join(" | ")}`);
  process.exit(1);
}

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
  character: { advertisesApiScopes: true },
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
  POLICY_FILE: name === "policy" ? "examples/policy/policy.yaml" : "",
  BACKEND_PORT: String(port + 2),
};
const running = commands.map((command) =>
  spawn(process.execPath, ["--import", "tsx", ...command], { env: environment, stdio: "inherit" }),
);
console.log(`Sign in as alice, or as bob, who may do less. The MCP endpoint: ${baseUrl}/mcp`);

for (const signal of ["SIGTERM", "SIGINT"] as const)
  process.on(signal, () => {
    for (const each of running) each.kill(signal);
  });
const codes = await Promise.all(running.map(end));
await identityProvider.close();
process.exitCode = Math.max(...codes);

/** The exit code; what a signal ended has done as it was told. */
function end(child: ChildProcess): Promise<number> {
  return new Promise((resolve) => child.once("exit", (code) => resolve(code ?? 0)));
}
