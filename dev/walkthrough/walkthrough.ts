/**
 * `npm run walkthrough`: plays an MCP client by hand against a running server, prints every step, and checks each
 * answer against what the specifications say. Exit code 0 only if every step succeeded.
 */
import { walkToBackend } from "./backend.ts";
import type { Caller } from "./callers.ts";
import type { Walk } from "./discovery.ts";
import { walkAsEnterprise } from "./enterprise.ts";
import { walkWithExchange } from "./exchange.ts";
import { walkWithForeignToken } from "./foreign-token.ts";
import { createSend } from "./http.ts";
import { walkAsMachine } from "./machine.ts";
import { walkAsPerson } from "./person.ts";
import { helpText, readSettings, type Settings } from "./settings.ts";
import { createTrace } from "./trace.ts";
import { walkAsWorkload } from "./workload.ts";

const WALKS: Readonly<Record<Caller, (walk: Walk, settings: Settings) => Promise<void>>> = {
  person: walkAsPerson,
  machine: walkAsMachine,
  enterprise: walkAsEnterprise,
  workload: walkAsWorkload,
  "foreign-token": walkWithForeignToken,
};

const colour = process.stdout.isTTY === true && !process.env.NO_COLOR;
const trace = createTrace(console.log, console.error, colour);
try {
  const settings = readSettings(process.argv.slice(2), process.env);
  if (settings === undefined) trace.show(helpText());
  else {
    const others = settings.backend ? walkToBackend : settings.exchange ? walkWithExchange : undefined;
    const walkThrough = others ?? WALKS[settings.as];
    await walkThrough({ send: createSend(trace), trace, url: settings.url }, settings);
    trace.succeeded();
  }
} catch (error) {
  trace.failed(error);
  process.exitCode = 1;
}
