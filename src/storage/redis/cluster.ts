/**
 * A link to a Redis Cluster. The library knows which node has which key and follows redirections; it does not look for
 * a new node in place of one that is gone (node-redis #2806), so then the link is replaced as a whole.
 */
import { createCluster, type RedisClientType } from "@keyv/redis";
import {
  addressOf,
  connectionOptions,
  connectTimeout,
  destroyClient,
  type LinkOptions,
  type RedisCommands,
  type RedisLink,
  withTimeLimit,
} from "./link.ts";

/** @throws why not; then nothing is left open. */
export async function openCluster(nodes: readonly string[], options: LinkOptions): Promise<RedisLink> {
  const { commandTimeoutMs, probeKey, lose } = options;
  const [first = ""] = nodes;
  const cluster = createCluster({
    rootNodes: nodes.map((url) => ({ url })),
    defaults: { ...connectionOptions(first, options), ...credentialsOf(first) },
  });
  // The library does not throw why a node could not be asked, but emits it.
  let told: unknown;
  cluster.on("error", (error: unknown) => {
    told = error;
  });
  const servers = () => cluster.masters.flatMap(({ client }) => (client ?? []) as RedisClientType[]);

  async function checkServer(client: RedisClientType): Promise<void> {
    try {
      await withTimeLimit(client.ping(), commandTimeoutMs);
    } catch (error) {
      // From here on commands for its keys fail immediately instead of waiting.
      destroyClient(client);
      throw error;
    }
  }

  const link: RedisLink = {
    name: `cluster of ${nodes.map(addressOf).join(", ")}`,
    commands: cluster as unknown as RedisCommands,
    servers,
    async check() {
      await Promise.all(servers().map(checkServer));
      // Nodes answer PING also while the cluster as a whole is down.
      await withTimeLimit(cluster.get(probeKey), commandTimeoutMs);
    },
    outlivesServers: true,
    destroy() {
      // The library's own way stops at the first connection that is closed already.
      for (const client of servers()) destroyClient(client);
      cluster.close().catch(() => {});
    },
  };

  try {
    await withTimeLimit(cluster.connect(), connectTimeout(commandTimeoutMs));
    await link.check();
    // Not before: a node that is gone does not matter if another one knows who took over.
    cluster.on("node-error", lose);
    return link;
  } catch (error) {
    link.destroy();
    throw told === undefined ? error : new AggregateError([told, error]);
  }
}

/** The nodes are given by address only. */
function credentialsOf(url: string): { username?: string; password?: string } {
  const { username, password } = new URL(url);
  return {
    ...(username !== "" && { username: decodeURIComponent(username) }),
    ...(password !== "" && { password: decodeURIComponent(password) }),
  };
}
