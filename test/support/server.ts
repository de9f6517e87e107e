/** One server process of the tests: the production server, configured by its environment. */
import { pino } from "pino";
import { loadConfig } from "../../src/config.ts";
import { serve } from "../../src/serve.ts";
import { createTools, prompts, resources, scopes } from "../../src/tools/index.ts";

const config = loadConfig(process.env);
const log = pino({ level: config.logLevel, base: null });
const tools = createTools({ weather: { ...config.weather, source: "none" } });
const server = await serve(config, { tools, resources, prompts, scopes }, { log, stopOnSignals: false });
process.once("SIGTERM", async () => {
  await server.stop();
  process.exit(0);
});
process.send?.("listening");
