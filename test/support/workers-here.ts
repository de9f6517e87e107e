/**
 * A program with two workers that do nothing but listen, on PORT; and not even that where there is a file HANG, for as many milliseconds
 * as it says. Where there is a file DIE they are killed, as for want of memory.
 */
import cluster from "node:cluster";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createLog } from "../../src/runtime/log.ts";
import { runWorkers } from "../../src/server/workers.ts";

const { PORT, HANG = "", DIE = "", START_MS } = process.env;
if (cluster.isPrimary) process.exit(await runWorkers(2, createLog("info"), Number(START_MS)));
if (existsSync(DIE)) process.kill(process.pid, "SIGKILL");
if (existsSync(HANG)) await new Promise((resolve) => setTimeout(resolve, Number(readFileSync(HANG, "utf8"))));
const server = createServer((_req, res) => void res.end()).listen(Number(PORT), "127.0.0.1");
process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  server.closeAllConnections();
});
