/** A link to one server of Redis. */
import {
  addressOf,
  clientOf,
  connectClient,
  destroyClient,
  type LinkOptions,
  type RedisCommands,
  type RedisLink,
  withTimeLimit,
} from "./link.ts";

/** @throws why not; then nothing is left open. */
export async function openServer(url: string, options: LinkOptions): Promise<RedisLink> {
  const client = clientOf(url, options);
  await connectClient(client, options);
  const link: RedisLink = {
    name: addressOf(url),
    commands: client as RedisCommands,
    servers: () => [client],
    check: async () => void (await withTimeLimit(client.get(options.probeKey), options.commandTimeoutMs)),
    outlivesServers: false,
    destroy: () => destroyClient(client),
  };
  try {
    // One that loads its data, or wants a password, accepts the connection and refuses every command.
    await link.check();
    return link;
  } catch (error) {
    link.destroy();
    throw error;
  }
}
