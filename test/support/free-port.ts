/**
 * A port of this computer that nobody listens on. Every process has a block of its own, so that no other test takes a port
 * before it is used, or while a server on it is down for a moment. All are below those that systems give to whoever names
 * none (Linux: from 32768).
 */
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [FIRST, BLOCK, BLOCKS] = [10_000, 200, 110];
// What runs on a port may take the next one, too: the demo's identity provider does.
const STEP = 2;

let block: number | undefined;
let next = 0;

export async function freePort(): Promise<number> {
  block ??= claimBlock();
  for (let tries = 0; tries < BLOCK / STEP; tries++) {
    const port = FIRST + block * BLOCK + next;
    next = (next + STEP) % BLOCK;
    if (await isFree(port)) return port;
  }
  throw new Error(`All ports from ${FIRST + block * BLOCK} on are in use`);
}

/** A file stands for a block; it names the process that has it. */
function claimBlock(): number {
  const folder = join(tmpdir(), "mcp-oidc-proxy-test-ports");
  mkdirSync(folder, { recursive: true });
  for (let claimed = 0; claimed < BLOCKS; claimed++) {
    const file = join(folder, String(claimed));
    if (isAbandoned(file)) rmSync(file, { force: true });
    try {
      writeFileSync(file, String(process.pid), { flag: "wx" });
    } catch {
      continue; // somebody else's
    }
    process.once("exit", () => rmSync(file, { force: true }));
    return claimed;
  }
  throw new Error(`Every file in ${folder} names a process that runs`);
}

function isAbandoned(file: string): boolean {
  try {
    process.kill(Number(readFileSync(file, "utf8")), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer().listen(port, "127.0.0.1");
  try {
    await once(server, "listening"); // rejects with the error if it cannot
    server.close();
    await once(server, "close");
    return true;
  } catch {
    return false;
  }
}
