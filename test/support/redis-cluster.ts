/** A real Redis Cluster of three masters, each with a third of the slots. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./free-port.ts";
import { tellRedis, until } from "./redis-admin.ts";
import { type RedisProcess, startRedisProcess, WITHOUT_PERSISTENCE } from "./redis-process.ts";

export interface TestCluster {
  /** The masters as they were at the start; the first has the replicas. */
  masters: RedisProcess[];
  replicas: RedisProcess[];
  urls: string[];
  urlOf(node: { port: number }): string;
  stop(): Promise<void>;
}

const THIRDS = [
  ["0", "5460"],
  ["5461", "10922"],
  ["10923", "16383"],
] as const;
const NODE_TIMEOUT_MS = 1_000;

export interface ClusterOptions {
  /** Of the first master. */
  replicas?: number;
  password?: string;
  /** What `redis-server` is told of its certificate: then all is spoken over TLS. */
  tls?: readonly string[];
}

export async function startRedisCluster(options: ClusterOptions = {}): Promise<TestCluster> {
  const { replicas: replicaCount = 0, password = "", tls } = options;
  const folder = await mkdtemp(join(tmpdir(), "redis-cluster-"));
  const nodes = await Promise.all(
    Array.from({ length: 3 + replicaCount }, async () => {
      const busPort = String(await freePort());
      const tlsPort = await freePort();
      const node = await startRedisProcess([
        ...WITHOUT_PERSISTENCE,
        ...["--cluster-enabled", "yes", "--cluster-port", busPort],
        ...["--dir", folder, "--cluster-config-file", `${busPort}.conf`, "--dbfilename", `${busPort}.rdb`],
        ...["--cluster-node-timeout", String(NODE_TIMEOUT_MS)],
        ...(password === "" ? [] : ["--requirepass", password, "--masterauth", password]),
        ...(tls === undefined ? [] : ["--tls-cluster", "yes", "--tls-port", String(tlsPort), ...tls]),
      ]);
      return { ...node, busPort, tlsPort };
    }),
  );
  const masters = nodes.slice(0, 3);
  const replicas = nodes.slice(3);
  const host = `${password && `:${encodeURIComponent(password)}@`}127.0.0.1`;
  const urlOf = ({ port }: { port: number }) => `redis://${host}:${port}`;
  const tell = (to: RedisProcess, ...command: string[]) => tellRedis(urlOf(to), "CLUSTER", ...command);
  const [first] = masters;
  if (first === undefined) throw new Error("no nodes");

  for (const [index, master] of masters.entries()) {
    await tell(master, "ADDSLOTSRANGE", ...(THIRDS[index] ?? []));
    await tell(master, "SET-CONFIG-EPOCH", String(index + 1));
  }
  for (const other of nodes.slice(1))
    await tell(first, "MEET", "127.0.0.1", String(tls ? other.tlsPort : other.port), other.busPort);
  const everyNode = (pattern: RegExp) => async () => {
    for (const each of nodes) if (!pattern.test(String(await tell(each, "INFO")))) return false;
    return true;
  };
  await until("the nodes know each other", everyNode(new RegExp(`cluster_known_nodes:${nodes.length}\\b`)));
  const firstId = String(await tell(first, "MYID"));
  for (const replica of replicas) {
    await until(
      "a replica knows its master",
      async () => (await tell(replica, "REPLICATE", firstId)) === "OK",
    );
    await until("a replica has the data", async () =>
      String(await tellRedis(urlOf(replica), "INFO", "replication")).includes("master_link_status:up"),
    );
  }
  await until("the cluster is up", everyNode(/cluster_state:ok/));
  return {
    masters,
    replicas,
    urls: masters.map(tls ? ({ tlsPort }) => `rediss://${host}:${tlsPort}` : urlOf),
    urlOf,
    async stop() {
      await Promise.all(nodes.map((each) => each.stop()));
      await rm(folder, { recursive: true });
    },
  };
}
