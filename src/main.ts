/** The production entry: environment in, server out. The only reader of process.env. */
import { existsSync } from "node:fs";
import { pino } from "pino";
import { ConfigError, loadConfig } from "./config.ts";
import { serve } from "./serve.ts";
import { createTools } from "./tools/index.ts";

try {
  if (existsSync(".env")) process.loadEnvFile(".env");
  const config = loadConfig(process.env);
  const log = pino({ level: config.logLevel, base: null });
  const tools = createTools({ weather: { ...config.weather, source: "Open-Meteo (open-meteo.com)" } });
  const server = await serve(config, tools, log);
  log.info(
    { url: config.resource, port: server.port, registerThisCallbackUrl: `${config.baseUrl}/auth/callback` },
    `Listening. The one callback URL to register at the identity provider: ${config.baseUrl}/auth/callback`,
  );
  const stop = (signal: string) => {
    log.info({ signal }, "Stopping: finishing requests in flight");
    void server.stop().then(() => {
      log.info("Stopped");
      process.exitCode = 0;
    });
  };
  process.once("SIGTERM", stop);
  process.once("SIGINT", stop);
} catch (error) {
  process.stderr.write(`${startUpProblem(error)}\n`);
  process.exitCode = 1;
}

/** A person reads this in a terminal: what to do, no stack trace. */
function startUpProblem(error: unknown): string {
  if (error instanceof ConfigError) return error.message;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "EADDRINUSE")
    return "mcp-oidc-proxy cannot start: PORT is in use by another program. Set another PORT.";
  if (code === "EACCES")
    return "mcp-oidc-proxy cannot start: PORT needs more rights than this user has. Use one above 1023.";
  return `mcp-oidc-proxy cannot start: ${message}`;
}
