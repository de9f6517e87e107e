/** The server of `npm run dev`: everything as in production, but for the store in a file and the log in words. */
import { randomBytes } from "node:crypto";
import { pino } from "pino";
import { buildApp } from "../app.ts";
import { loadConfig } from "../config.ts";
import { openApp } from "../create-app.ts";
import { listenWith, type RunningServer } from "../serve.ts";
import { memoryRecords } from "../storage/memory.ts";
import { systemClock } from "../surroundings.ts";
import { loadFeatures } from "../tools-module.ts";
import { createOidcProvider } from "../upstream/oidc.ts";
import { demoLog } from "./demo-log.ts";
import type { ToServer } from "./dev-messages.ts";
import { fileRecords } from "./file-records.ts";

export interface LoadedServer {
  scopes: string[];
  /** @returns the port; the server before has let go of the store */
  listen(): Promise<number>;
  stop(): Promise<void>;
}

export async function loadDevServer({
  environment,
  store,
  weatherSource,
}: Extract<ToServer, { do: "load" }>): Promise<LoadedServer> {
  // The port is any that is free: clients know only the one in front.
  const config = { ...loadConfig(environment), port: 0 };
  const log = demoLog(config.logLevel);
  const features = await loadFeatures(config, weatherSource);
  tryOut(config, features);
  let server: RunningServer | undefined;
  return {
    scopes: Object.keys(features.scopes),
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
