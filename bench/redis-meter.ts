/** What Redis says about itself. */
import { createClient } from "@keyv/redis";

export interface RedisMeter {
  /** Commands that clients sent so far, without those of this meter. Background checks of a server are among them. */
  commands(): Promise<number>;
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
  return {
    // This very INFO is not counted yet when it answers.
    commands: async () => Number(await info("stats", "total_commands_processed")) - own + 1,
    usedMemory: async () => Number(await info("memory", "used_memory")),
    version: () => info("server", "redis_version"),
    close: async () => void (await client.close()),
  };
}
