/** One server process of the race tests: the production server, configured by its environment, killed without notice. */
import { pino } from "pino";
import { loadConfig } from "../../src/config.ts";
import { serve } from "../../src/serve.ts";
import { createTools, scopes } from "../../src/tools/index.ts";

const config = loadConfig(process.env);
const log = pino({ level: config.logLevel, base: null });
await serve(config, { tools: createTools({ weather: { ...config.weather, source: "none" } }), scopes }, log);
process.send?.("listening");
