/** `npm run admin`: the operator's command line. Reads the same environment as the server. */

import { readEnvironment } from "../config/environment.ts";
import { runAdmin } from "./admin/program.ts";
import { untilWritten } from "./streams.ts";

let isCutOff = false;
process.stdout.on("error", ({ code }: NodeJS.ErrnoException) => {
  isCutOff ||= code !== "EPIPE"; // whoever reads may have enough: `admin grants list | head`
});

const exit = await runAdmin(process.argv.slice(2), readEnvironment, process);
await untilWritten(process);
process.exit(isCutOff ? 1 : exit); // a connection to the store that never came about would keep the process alive
