/** The server of `npm run dev`: everything as in production, but for the store in a file and the log in words. */
import { pino } from "pino";
import { loadConfig } from "../../src/config/config.ts";
import { openApp } from "../../src/server/create-app.ts";
import { buildApp } from "../../src/server/mount.ts";
import { listenWith, type RunningServer } from "../../src/server/serve.ts";
import { loadFeatures, loadFurtherResources } from "../../src/server/tools-module.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { demoLog } from "../demo/log.ts";
import { fileRecords } from "./file-records.ts";
import type { ToServer } from "./messages.ts";

export interface LoadedServer {
  scopes: string[];
  /** @returns the port; the server before has let go of the store */
  listen(): Promise<number>;
  stop(): Promise<void>;
}

export async function loadDevServer({ store }: Extract<ToServer, { do: "load" }>): Promise<LoadedServer> {
  // Any free port: clients know only that of the dev proxy.
  const config = { ...loadConfig(process.env), port: 0 };
  const log = demoLog(config.logLevel);
  const features = await loadFeatures(config);
  await tryOut(config, features);
  let server: RunningServer | undefined;
  return {
    scopes: Object.keys(features.scopes),
    async listen() {
      const app = await openApp(config, features, { log }, { records: await fileRecords(store) });
      server = await listenWith(app, config, { stopOnSignals: false });
      return server.port;
    },
    stop: async () => server?.stop(),
  };
}

/** A mistake in a declaration must be found while the last good server still runs. */
async function tryOut(
  { policyFile: _, ...config }: ReturnType<typeof loadConfig>,
  features: Parameters<typeof openApp>[1],
): Promise<void> {
  const log = pino({ level: "silent" });
  const furtherResources = await loadFurtherResources(config);
  buildApp({ ...features, furtherResources, config, records: memoryStore(), log });
}
