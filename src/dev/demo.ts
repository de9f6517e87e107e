/**
 * `npm run demo`: the whole server beside an embedded identity provider and a local stand-in for the weather service.
 * Nothing to configure, nothing leaves this computer; the memory store forgets everything at the end.
 */
import { randomBytes } from "node:crypto";
import { pino } from "pino";
import pretty from "pino-pretty";
import { loadConfig } from "../config.ts";
import { connectGuides } from "../http/connect.ts";
import { connectText } from "../http/connect-text.ts";
import { serve } from "../serve.ts";
import { createTools, prompts, resources, scopes } from "../tools/index.ts";
import { DEMO_SERVER } from "./demo-server.ts";
import { type DemoUser, startIdentityProvider } from "./identity-provider.ts";
import { startWeatherStandIn } from "./weather-stand-in.ts";

const USERS: DemoUser[] = [
  { subject: "alice", name: "Alice Example", email: "alice@example.com", permissions: Object.keys(scopes) },
  {
    subject: "bob",
    name: "Bob Example",
    email: "bob@example.com",
    permissions: [],
  },
];

const port = Number(process.env.PORT || 3000);
// In a container, whose published ports arrive at its own address, 0.0.0.0; every URL says localhost all the same.
const host = process.env.DEMO_HOST || "127.0.0.1";
const baseUrl = `http://localhost:${port}`;
const audience = "https://weather.example.com";
const client = { id: "mcp-oidc-proxy", secret: randomBytes(32).toString("base64url") };

if (!Number.isInteger(port) || port < 1 || port > 65_534) {
  console.error("PORT must be a number from 1 to 65534: the identity provider takes the next one.");
  process.exit(1);
}
try {
  await start();
} catch (error) {
  const inUse = (error as NodeJS.ErrnoException).code === "EADDRINUSE";
  console.error(
    inUse
      ? `Port ${port} or ${port + 1} is in use by another program. Choose another: PORT=3100 npm run demo`
      : `The demo cannot start: ${error instanceof Error ? error.message : error}`,
  );
  process.exit(1);
}

async function start(): Promise<void> {
  const identityProvider = await startIdentityProvider({
    port: port + 1,
    host,
    client: { ...client, redirectUris: [`${baseUrl}/auth/callback`] },
    audience,
    scopes: Object.keys(scopes),
    users: USERS,
    character: { advertisesApiScopes: true },
  });
  const weather = await startWeatherStandIn({ port: 0 });
  const config = loadConfig({
    BASE_URL: baseUrl,
    PORT: String(port),
    HOST: host,
    SERVER_NAME: DEMO_SERVER.name,
    SERVER_DESCRIPTION: DEMO_SERVER.description,
    STORE: "memory",
    SECRET_KEY: randomBytes(48).toString("base64url"),
    OIDC_ISSUER: identityProvider.issuer,
    OIDC_CLIENT_ID: client.id,
    OIDC_CLIENT_SECRET: client.secret,
    OIDC_AUDIENCE: audience,
    OPEN_METEO_GEOCODING_URL: weather.geocodingUrl,
    OPEN_METEO_FORECAST_URL: weather.forecastUrl,
    // What can be tried without a configuration: docs/access.md.
    POLICY_FILE: process.env.POLICY_FILE,
    TOOLS_LISTED: process.env.TOOLS_LISTED,
    AUDIT_LOG: process.env.AUDIT_LOG,
    AUDIT_ARGUMENTS: process.env.AUDIT_ARGUMENTS,
    LOG_LEVEL: process.env.LOG_LEVEL,
  });
  const log = pino({ level: config.logLevel, base: null }, pretty({ ignore: "requestId,cause", sync: true }));
  const source = "local stand-in of the demo: not real weather";
  const tools = createTools({ weather: { ...config.weather, source } });
  const server = await serve(config, { tools, resources, prompts, scopes }, { log, stopOnSignals: false });
  console.log(instructions(config.resource, identityProvider.issuer));

  const stop = async () => {
    await server.stop();
    await Promise.all([identityProvider.close(), weather.close()]);
    process.exit(0);
  };
  process.once("SIGINT", () => void stop());
  process.once("SIGTERM", () => void stop());
}

function instructions(url: string, issuer: string): string {
  return `
mcp-oidc-proxy demo is running.

  MCP endpoint       ${url}
  Identity provider  ${issuer} (embedded; sign in as ${USERS.map(({ subject }) => subject).join(" or ")}, or any other name)

See every hop of the flow, in another terminal:

  ${port === 3000 ? "" : `URL=${url} `}npm run walkthrough

Or connect your own client, as ${baseUrl} shows in a browser, or so:

${connectText(connectGuides({ name: DEMO_SERVER.name, url }))}

Stop with Ctrl+C.
`;
}
