/** `npm run doctor`: is this deployment in order, and if not, what is to be done? Reads the server's environment. */
import { readEnvironment } from "../config/environment.ts";
import { outgoingProxy } from "../config/outgoing-proxy.ts";
import { Settings } from "../config/settings.ts";
import { openProxiedFetch } from "../runtime/proxied-fetch.ts";
import { runDoctor } from "./doctor/command.ts";
import { PATIENCE } from "./doctor/deployment.ts";
import { untilWritten } from "./streams.ts";

// Everything that is asked goes the server's way: by the forward proxy, where there is one. Its own mistakes are findings.
const proxy = outgoingProxy(new Settings(readEnvironment()));
if (proxy !== undefined) globalThis.fetch = (await openProxiedFetch(proxy)).fetch as typeof fetch;

const exit = await runDoctor(process.argv.slice(2), readEnvironment, process, PATIENCE);
await untilWritten(process);
process.exit(exit); // what did not answer in time may still be open
