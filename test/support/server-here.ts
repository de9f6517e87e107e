/** A server of this process that is configured by its environment: for tests that a process of its own would tell no more. */
import { pino } from "pino";
import { loadConfig } from "../../src/config/config.ts";
import { serve } from "../../src/server/serve.ts";
import { prompts, resources, scopes, tools } from "../../src/tools/index.ts";
import { untilServerIsReady } from "./server-process.ts";

export interface ServerHere {
  url: string;
  /** As at SIGTERM. */
  stop(): Promise<void>;
  /** Again, on the same port. */
  start(): Promise<void>;
  end(): Promise<void>;
}

/** Resolves when it is ready, as a load balancer would see it. */
export async function startServerHere(environment: Record<string, string>): Promise<ServerHere> {
  // No test asks an address on the internet.
  const config = loadConfig({ CLIENT_ID_METADATA: "on", ...environment });
  const log = pino({ level: config.logLevel, base: null });
  const start = async () => {
    const server = await serve(config, { tools, resources, prompts, scopes }, { log, stopOnSignals: false });
    await untilServerIsReady(server.port);
    return server;
  };
  let server = await start();
  const stop = () => server.stop();
  return {
    url: `http://localhost:${server.port}`,
    stop,
    end: stop,
    async start() {
      server = await start();
    },
  };
}
