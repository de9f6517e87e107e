/** The server of `npm run dev`: everything as in production, but for the store in a file and the log in words. */
import { randomBytes } from "node:crypto";
import { pino } from "pino";
import { buildApp } from "../app.ts";
import { loadConfig } from "../config.ts";
import { openApp } from "../create-app.ts";
import { requestFields } from "../http/current-request.ts";
import { listenWith, type RunningServer } from "../serve.ts";
import { memoryRecords } from "../storage/memory.ts";
import { systemClock } from "../surroundings.ts";
import { createTools, prompts, resources, scopes } from "../tools/index.ts";
import { createOidcProvider } from "../upstream/oidc.ts";
import { WEATHER_SOURCE } from "./demo-surroundings.ts";
import type { ToServer } from "./dev-messages.ts";
import { fileRecords } from "./file-records.ts";
import { hopLog } from "./hop-log.ts";

export interface LoadedServer {
  scopes: string[];
  /** @returns the port; the server before has let go of the store */
  listen(): Promise<number>;
  stop(): Promise<void>;
}

export async function loadDevServer({
  environment,
  store,
  colour,
}: Extract<ToServer, { do: "load" }>): Promise<LoadedServer> {
  // The port is any that is free: clients know only the one in front.
  const config = { ...loadConfig(environment), port: 0 };
  const lines = hopLog((text) => void process.stdout.write(`${text}\n`), colour);
  const log = pino({ level: config.logLevel, base: null, mixin: requestFields }, lines);
  const tools = createTools({ weather: { ...config.weather, source: WEATHER_SOURCE } });
  const features = { tools, resources, prompts, scopes };
  tryOut(config, features);
  let server: RunningServer | undefined;
  return {
    scopes: Object.keys(scopes),
    async listen() {
      const app = await openApp(config, features, { log }, await fileRecords(store));
      server = await listenWith(app, config, { stopOnSignals: false });
      return server.port;
    },
    stop: async () => server?.stop(),
  };
}

/** A mistake in a declaration must be found while the last good server still runs. */
function tryOut(
  { policyFile: _, ...config }: ReturnType<typeof loadConfig>,
  features: Parameters<typeof openApp>[1],
): void {
  const log = pino({ level: "silent" });
  const identityProvider = createOidcProvider(config.upstream, { now: systemClock, randomBytes, log });
  buildApp({ ...features, config, records: memoryRecords(), identityProvider, log });
}
