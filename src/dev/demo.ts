/**
 * `npm run demo`: the whole server beside an embedded identity provider and a local stand-in for the weather service.
 * Nothing to configure, nothing leaves this computer; the memory store forgets everything at the end.
 */
import { randomBytes } from "node:crypto";
import { pino } from "pino";
import pretty from "pino-pretty";
import { type Config, loadConfig } from "../config.ts";
import { connectGuides } from "../http/connect.ts";
import { connectText } from "../http/connect-text.ts";
import { serve } from "../serve.ts";
import { createTools, prompts, resources, scopes } from "../tools/index.ts";
import { DEMO_SERVER } from "./demo-server.ts";
import {
  demoPort,
  settingsToTry,
  startProblem,
  startSurroundings,
  WEATHER_SOURCE,
  whereItIs,
} from "./demo-surroundings.ts";

// In a container, whose published ports arrive at its own address, 0.0.0.0; every URL says localhost all the same.
const host = process.env.DEMO_HOST || "127.0.0.1";

try {
  const port = demoPort(process.env);
  await start(port).catch((error: unknown) => {
    throw new Error(startProblem(error, port, "npm run demo"));
  });
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}

async function start(port: number): Promise<void> {
  const { identityProvider, environment, close } = await startSurroundings({
    port,
    host,
    scopes: Object.keys(scopes),
    clientSecret: randomBytes(32).toString("base64url"),
  });
  const config = loadConfig({
    ...environment,
    ...settingsToTry(process.env),
    SERVER_NAME: DEMO_SERVER.name,
    SERVER_DESCRIPTION: DEMO_SERVER.description,
    SECRET_KEY: randomBytes(48).toString("base64url"),
  });
  const log = pino({ level: config.logLevel, base: null }, pretty({ ignore: "requestId,cause", sync: true }));
  const tools = createTools({ weather: { ...config.weather, source: WEATHER_SOURCE } });
  const server = await serve(config, { tools, resources, prompts, scopes }, { log, stopOnSignals: false });
  console.log(instructions(config, identityProvider.issuer));

  const stop = async () => {
    await server.stop();
    await close();
    process.exit(0);
  };
  process.once("SIGINT", () => void stop());
  process.once("SIGTERM", () => void stop());
}

function instructions({ baseUrl, resource: url, port }: Config, issuer: string): string {
  return `
mcp-oidc-proxy demo is running.

${whereItIs(url, issuer)}

See every hop of the flow, in another terminal:

  ${port === 3000 ? "" : `URL=${url} `}npm run walkthrough

Or connect your own client, as ${baseUrl} shows in a browser, or so:

${connectText(connectGuides({ name: DEMO_SERVER.name, url }))}

Stop with Ctrl+C.
`;
}
