/** `npm run doctor`: is this deployment in order, and if not, what is to be done? Reads the server's environment. */
import { readEnvironment } from "../config/environment.ts";
import { outgoingProxy } from "../config/outgoing-proxy.ts";
import { Settings } from "../config/settings.ts";
import { type OutgoingProxy, openProxiedFetch } from "../runtime/proxied-fetch.ts";
import { runDoctor } from "./doctor/command.ts";
import { PATIENCE } from "./doctor/deployment.ts";
import { untilWritten } from "./streams.ts";

// Whoever reads may have enough: `doctor | head`.
process.stdout.on("error", ({ code }: NodeJS.ErrnoException) => process.exit(code === "EPIPE" ? 0 : 1));

// Everything that is asked goes the server's way: by the forward proxy, where there is one.
const proxy = configuredProxy();
if (proxy !== undefined) globalThis.fetch = (await openProxiedFetch(proxy)).fetch as typeof fetch;

const exit = await runDoctor(process.argv.slice(2), readEnvironment, process, PATIENCE);
await untilWritten(process);
process.exit(exit); // what did not answer in time may still be open

/** What is wrong with it is a finding, and an environment that cannot be read is what the doctor says. */
function configuredProxy(): OutgoingProxy | undefined {
  try {
    return outgoingProxy(new Settings(readEnvironment()));
  } catch {
    return undefined;
  }
}
