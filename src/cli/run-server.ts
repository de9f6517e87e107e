/** The server as a program: environment in, server out; what stands behind the command comes before the environment. */
import { type Config, loadConfig } from "../config/config.ts";
import { forgetFile, readEnvironment, withOptions } from "../config/environment.ts";
import type { Features } from "../mcp/authoring/features.ts";
import { createLog } from "../runtime/log.ts";
import { openApp } from "../server/create-app.ts";
import { listenWith, serve } from "../server/serve.ts";
import { loadFeatures } from "../server/tools-module.ts";
import { runWorkers, thisWorker, type WorkerProcess } from "../server/workers.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { HELP } from "./help.ts";
import { CommandLineError, startOptions } from "./start-options.ts";

try {
  if (process.argv.slice(2).some((argument) => ["--help", "-h"].includes(argument))) {
    process.stdout.write(HELP);
    process.exit(0);
  }
  await start();
} catch (error) {
  process.stderr.write(`mcp-oidc-proxy cannot start: ${startUpProblem(error)}\n`);
  process.exit(error instanceof CommandLineError ? 2 : 1); // an open connection to the store would keep the process alive
}

async function start(): Promise<void> {
  const options = startOptions(process.argv.slice(2));
  const config = loadConfig(withOptions(readEnvironment(), options));
  const worker = thisWorker();
  if (config.workers > 1 && worker === undefined) {
    forgetFile();
    process.exit(await runWorkers(config.workers, createLog(config.logLevel)));
  }
  const features = await loadFeatures(config);
  await (worker === undefined ? run(config, features) : runAsWorker(worker, config, features));
  process.exit(0); // whatever a tool has left open
}

async function run(config: Config, features: Features): Promise<void> {
  const server = await serve(config, features);
  await server.stopped;
}

async function runAsWorker(worker: WorkerProcess, config: Config, features: Features): Promise<void> {
  const own = createMetrics();
  const shared = worker.share(own);
  const metrics = { ...own, exposition: shared.read };
  const log = createLog(config.logLevel, { worker: worker.id });
  const server = await listenWith(await openApp(config, features, { log }, { metrics }), config);
  worker.onRetire(server.retire);
  await server.stopped;
  await shared.sendLast();
  await worker.leave();
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
