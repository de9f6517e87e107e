/** `npm run admin`: the operator's command line. Reads the same environment as the server. */

import { readEnvironment } from "../config/environment.ts";
import { runAdmin } from "./admin/program.ts";

// Whoever reads may have enough: `admin grants list | head`.
process.stdout.on("error", ({ code }: NodeJS.ErrnoException) => process.exit(code === "EPIPE" ? 0 : 1));

const exit = await runAdmin(process.argv.slice(2), readEnvironment, process);
// A long answer may still be on its way into a pipe.
for (const stream of [process.stdout, process.stderr])
  await new Promise<void>((resolve) => stream.write("", () => resolve()));
process.exit(exit); // a connection to the store that never came about would keep the process alive
