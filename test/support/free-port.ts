/**
 * A port of this computer that nobody listens on. Every process has a block of its own, so that no other test takes a port
 * before it is used, or while a server on it is down for a moment. All are below those that systems give to whoever names
 * none (Linux: from 32768), and above 10080, the last of those that fetch() refuses.
 */
import { once } from "node:events";
import { createServer } from "node:net";

const [FIRST, BLOCK, BLOCKS] = [10_100, 200, 110];
// What runs on a port may take the next one, too: the demo's identity provider does.
const STEP = 2;

let block: Promise<number> | undefined;
let next = STEP; // after the one that stands for the block

export async function freePort(): Promise<number> {
  block ??= claimBlock();
  const first = FIRST + (await block) * BLOCK;
  for (let tries = 0; tries < BLOCK / STEP; tries++) {
    const port = first + next;
    next = (next + STEP) % BLOCK || STEP;
    if (await isFree(port)) return port;
  }
  throw new Error(`All ports from ${first} on are in use`);
}

/** Whoever listens on the first port of a block has it, for as long as the process lives. */
async function claimBlock(): Promise<number> {
  for (let claimed = 0; claimed < BLOCKS; claimed++) {
    const lock = createServer().unref();
    try {
      await once(lock.listen(FIRST + claimed * BLOCK, "127.0.0.1"), "listening");
      return claimed;
    } catch {
      // somebody else's
    }
  }
  throw new Error(`Every block of ports from ${FIRST} on is taken`);
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
