/** Where Redis is: one server, the master that Sentinels name, or a cluster; and a link to it. */
import { openCluster } from "./cluster.ts";
import type { LinkOptions, RedisLink } from "./link.ts";
import { openSentinelMaster } from "./sentinel.ts";
import { openServer } from "./server.ts";

/** All addresses are URLs, `redis://` or `rediss://`, with user and password where they are needed. */
export type RedisTopology = (
  | { url: string }
  /** The host of `url` is the name that the Sentinels have for their master. */
  | { url: string; sentinels: readonly string[] }
  /** Some of the nodes; they name the others. User and password of the first hold for all. */
  | { clusterNodes: readonly string[] }
) & {
  /** PEM: the authorities that may have signed the servers' certificates, instead of Node's own. */
  ca?: string;
};

/** @throws what the operator has to know; then nothing is left open. */
export function openLink(topology: RedisTopology, options: LinkOptions): Promise<RedisLink> {
  if ("clusterNodes" in topology) return openCluster(topology.clusterNodes, options);
  if ("sentinels" in topology) return openSentinelMaster(topology, options);
  return openServer(topology.url, options);
}
