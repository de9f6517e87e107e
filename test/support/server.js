/**
 * One server process of the tests: the production server as it is built, configured by its environment. JavaScript,
 * because a process that compiles nothing starts three times as fast.
 */
import { pino } from "pino";
import { loadConfig } from "../../dist/src/config/config.js";
import { serve } from "../../dist/src/server/serve.js";
import { prompts, resources, scopes, tools } from "../../dist/src/tools/index.js";

const config = loadConfig(process.env);
const log = pino({ level: config.logLevel, base: null });
const server = await serve(config, { tools, resources, prompts, scopes }, { log, stopOnSignals: false });
process.once("SIGTERM", async () => {
  await server.stop();
  process.exit(0);
});
process.send?.("listening");
