/** `npm run admin`: the operator's command line. Reads the same environment as the server. */

import { readEnvironment } from "../config/environment.ts";
import { runAdmin } from "./admin/program.ts";
import { untilWritten } from "./streams.ts";

// Whoever reads may have enough: `admin grants list | head`.
process.stdout.on("error", ({ code }: NodeJS.ErrnoException) => process.exit(code === "EPIPE" ? 0 : 1));

const exit = await runAdmin(process.argv.slice(2), readEnvironment, process);
await untilWritten(process);
process.exit(exit); // a connection to the store that never came about would keep the process alive
