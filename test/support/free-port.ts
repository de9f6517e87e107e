/**
 * A port of this computer that nobody listens on at the moment. Below those that systems give to whoever names none
 * (Linux: from 32768), so that no other test's connection takes it before it is used.
 */
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";

const [FIRST, LAST] = [20_000, 32_000];

export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FIRST, LAST);
    if (await isFree(port)) return port;
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
