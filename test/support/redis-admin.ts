/** Commands that tests send to Redis servers besides the code under test. */
import { setTimeout as delay } from "node:timers/promises";
import { createClient } from "@keyv/redis";

/** Sends one command on a connection of its own. */
export async function tellRedis(url: string, ...command: string[]): Promise<unknown> {
  const client = createClient({ url, socket: { reconnectStrategy: false } }).on("error", () => {});
  await client.connect();
  try {
    return await client.sendCommand(command);
  } finally {
    client.destroy();
  }
}

/** Asks until the answer is as it should be; a server that does not answer yet is asked again. */
export async function until(
  what: string,
  look: () => Promise<boolean>,
  { everyMs = 50, forMs = 30_000 } = {},
): Promise<void> {
  for (const deadline = performance.now() + forMs; performance.now() < deadline; await delay(everyMs))
    if (await look().catch(() => false)) return;
  throw new Error(`${what}: not within ${forMs} ms`);
}

/** Resolves when every replica of a master, and at least one, has acknowledged what was written to it up to now. */
export async function untilReplicated(masterUrl: string): Promise<void> {
  const ask = async () => String(await tellRedis(masterUrl, "INFO", "replication"));
  const written = Number(/master_repl_offset:(\d+)/.exec(await ask())?.[1]);
  await until("the replicas have everything", async () => {
    const acknowledged = [...(await ask()).matchAll(/^slave\d+:.*state=online,offset=(\d+)/gm)];
    return acknowledged.length > 0 && acknowledged.every(([, offset]) => Number(offset) >= written);
  });
}
