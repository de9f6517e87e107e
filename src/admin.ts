/** `npm run admin`: the operator's command line. Reads the same environment as the server. */
import { runAdmin } from "./admin/program.ts";
import { readEnvironment } from "./environment.ts";

// Whoever reads may have enough: `admin grants list | head`.
process.stdout.on("error", ({ code }: NodeJS.ErrnoException) => process.exit(code === "EPIPE" ? 0 : 1));

// Exits by itself: a connection to the store that never came about would keep the process alive.
process.exit(await runAdmin(process.argv.slice(2), readEnvironment, process));
