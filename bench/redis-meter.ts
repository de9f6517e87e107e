/** What Redis says about itself. */
import { setTimeout as delay } from "node:timers/promises";
import { createClient } from "@keyv/redis";

const IDLE_SECONDS = 5;

export interface RedisMeter {
  /** Commands that clients sent so far, without those of this meter. */
  commands(): Promise<number>;
  /** Looks on while nothing is asked of anybody: every server checks its connection once a second. */
  idleCommandsPerSecond(): Promise<number>;
  /** Bytes, as Redis counts what it allocated. */
  usedMemory(): Promise<number>;
  version(): Promise<string>;
  close(): Promise<void>;
}

export async function meterRedis(url: string): Promise<RedisMeter> {
  const client = createClient({ url });
  client.on("error", () => {}); // thrown to who asks as well
  await client.connect();
  let own = 0;
  const info = async (section: string, field: string): Promise<string> => {
    own++;
    const text = String(await client.sendCommand(["INFO", section]));
    return new RegExp(`^${field}:(\\S+)`, "m").exec(text)?.[1] ?? "";
  };
  // This very INFO is not counted yet when it answers.
  const commands = async () => Number(await info("stats", "total_commands_processed")) - own + 1;
  return {
    commands,
    async idleCommandsPerSecond() {
      const before = await commands();
      await delay(IDLE_SECONDS * 1000);
      return ((await commands()) - before) / IDLE_SECONDS;
    },
    usedMemory: async () => Number(await info("memory", "used_memory")),
    version: () => info("server", "redis_version"),
    close: async () => void (await client.close()),
  };
}
