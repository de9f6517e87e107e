/** What Redis says about itself. */
import { createClient } from "@keyv/redis";

export interface RedisMeter {
  /** Commands that clients sent so far, without those of this meter. Background checks of a server are among them. */
  commands(): Promise<number>;
  /** Bytes, as Redis counts what it allocated. */
  usedMemory(): Promise<number>;
  close(): Promise<void>;
}

export async function meterRedis(url: string): Promise<RedisMeter> {
  const client = createClient({ url });
  await client.connect();
  let own = 0;
  const info = async (section: string, field: string): Promise<number> => {
    own++;
    const text = String(await client.sendCommand(["INFO", section]));
    return Number(new RegExp(`^${field}:(\\d+)`, "m").exec(text)?.[1]);
  };
  return {
    // This very INFO is not counted yet when it answers.
    commands: async () => (await info("stats", "total_commands_processed")) - own + 1,
    usedMemory: () => info("memory", "used_memory"),
    close: async () => void (await client.close()),
  };
}
