/** The production entry: environment in, server out. */
import { pino } from "pino";
import { loadConfig } from "./config.ts";
import { readEnvironment } from "./environment.ts";
import { requestFields } from "./http/current-request.ts";
import { serve } from "./serve.ts";

try {
  await start();
} catch (error) {
  process.stderr.write(`mcp-oidc-proxy cannot start: ${startUpProblem(error)}\n`);
  process.exit(1); // an open connection to the store would keep the process alive
}

async function start(): Promise<void> {
  const config = loadConfig(readEnvironment());
  const log = pino({ level: config.logLevel, base: null, mixin: requestFields });
  // Imported here, so that a mistake in the declaration of a tool is told like every other start-up problem.
  const { createTools, ...declared } = await import("./tools/index.ts");
  const tools = createTools({ weather: { ...config.weather, source: "Open-Meteo (open-meteo.com)" } });
  const server = await serve(config, { ...declared, tools }, log);
  const callbackUrl = `${config.baseUrl}/auth/callback`;
  log.info(
    { url: config.resource, port: server.port, callbackUrl },
    `Listening. The one callback URL to register at the identity provider: ${callbackUrl}`,
  );

  let stopping = false;
  const stop = async (signal: string): Promise<void> => {
    if (stopping) return;
    stopping = true;
    log.info({ signal }, "Stopping: finishing requests in flight");
    try {
      await server.stop();
    } catch (error) {
      log.warn({ reason: "unclean_stop", err: error }, "Something did not close cleanly");
    }
    log.info("Stopped");
    process.exit(0);
  };
  process.on("SIGTERM", (signal) => void stop(signal));
  process.on("SIGINT", (signal) => void stop(signal));
}

/** A person reads this in a terminal: what to do, no stack trace. */
function startUpProblem(error: unknown): string {
  const { code, message, port } = error as NodeJS.ErrnoException & { port?: number };
  switch (code) {
    case "EADDRINUSE":
      return `port ${port} is in use by another program: set another PORT (and BASE_URL, if it names the port).`;
    case "EACCES":
      return "PORT needs more rights than this user has. Use one above 1023.";
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return "HOST is not an address of this machine. Use 0.0.0.0 or 127.0.0.1.";
    default:
      return message;
  }
}
