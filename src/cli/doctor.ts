/** `npm run doctor`: is this deployment in order, and if not, what is to be done? Reads the server's environment. */
import { readEnvironment } from "../config/environment.ts";
import { runDoctor } from "./doctor/command.ts";
import { PATIENCE } from "./doctor/examine.ts";
import { untilWritten } from "./streams.ts";

const exit = await runDoctor(process.argv.slice(2), readEnvironment, process, PATIENCE);
await untilWritten(process);
process.exit(exit); // what did not answer in time may still be open
