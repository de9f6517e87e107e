/** A real Sentinel deployment: a master, its replica, and three Sentinels of which two decide. Both ask for passwords. */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./free-port.ts";
import { tellRedis, until } from "./redis-admin.ts";
import { type RedisProcess, startRedisProcess, WITHOUT_PERSISTENCE } from "./redis-process.ts";

export interface TestSentinel {
  /** As they were at the start. */
  master: RedisProcess;
  replica: RedisProcess;
  sentinels: RedisProcess[];
  /** With the name of the master in place of a host. */
  url: string;
  sentinelUrls: string[];
  dataUrl(node: { port: number }): string;
  /** `host:port` of what the Sentinels call the master now. */
  masterNow(): Promise<string>;
  stop(): Promise<void>;
}

export const MASTER_NAME = "Main_1";
export const DATA_PASSWORD = "data-secret";
export const SENTINEL_PASSWORD = "sentinel-secret";
const DOWN_AFTER_MS = 500;

export async function startRedisSentinel(): Promise<TestSentinel> {
  const folder = await mkdtemp(join(tmpdir(), "redis-sentinel-"));
  const data = (name: string) => [
    ...[...WITHOUT_PERSISTENCE, "--dir", folder, "--dbfilename", `${name}.rdb`],
    ...["--requirepass", DATA_PASSWORD, "--masterauth", DATA_PASSWORD],
  ];
  const master = await startRedisProcess(data("master"));
  const replicaOf = ["--replicaof", "127.0.0.1", String(master.port)];
  const replica = await startRedisProcess([...data("replica"), ...replicaOf]);
  const dataUrl = ({ port }: { port: number }) => `redis://:${DATA_PASSWORD}@127.0.0.1:${port}`;
  await until("the replica has the data", async () =>
    String(await tellRedis(dataUrl(replica), "INFO", "replication")).includes("master_link_status:up"),
  );

  // They would find each other, too, but need seconds for it.
  const known = await Promise.all(
    Array.from({ length: 3 }, async () => ({ port: await freePort(), id: randomBytes(20).toString("hex") })),
  );
  const sentinels = await Promise.all(
    known.map(async (self) => {
      const file = join(folder, `sentinel-${self.port}.conf`);
      const others = known.filter((other) => other !== self);
      const lines = [
        `port ${self.port}`,
        `dir ${folder}`,
        `requirepass ${SENTINEL_PASSWORD}`,
        `sentinel sentinel-pass ${SENTINEL_PASSWORD}`,
        `sentinel myid ${self.id}`,
        `sentinel monitor ${MASTER_NAME} 127.0.0.1 ${master.port} 2`,
        `sentinel auth-pass ${MASTER_NAME} ${DATA_PASSWORD}`,
        `sentinel down-after-milliseconds ${MASTER_NAME} ${DOWN_AFTER_MS}`,
        `sentinel failover-timeout ${MASTER_NAME} 1000`,
        `sentinel known-replica ${MASTER_NAME} 127.0.0.1 ${replica.port}`,
        ...others.map(({ port, id }) => `sentinel known-sentinel ${MASTER_NAME} 127.0.0.1 ${port} ${id}`),
      ];
      await writeFile(file, `${lines.join("\n")}\n`);
      return startRedisProcess([file, "--sentinel"], self.port);
    }),
  );
  const sentinelUrls = sentinels.map(({ port }) => `redis://:${SENTINEL_PASSWORD}@127.0.0.1:${port}`);
  const ask = async (url: string, ...command: string[]) =>
    (await tellRedis(url, "SENTINEL", ...command)) as string[];
  await until("the Sentinels know each other", async () => {
    for (const url of sentinelUrls) {
      const answer = await ask(url, "CKQUORUM", MASTER_NAME);
      if (!String(answer).startsWith("OK 3")) return false;
    }
    return true;
  });
  return {
    master,
    replica,
    sentinels,
    url: `redis://:${DATA_PASSWORD}@${MASTER_NAME}`,
    sentinelUrls,
    dataUrl,
    async masterNow() {
      return (await ask(sentinelUrls[0] ?? "", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)).join(":");
    },
    async stop() {
      await Promise.all([master, replica, ...sentinels].map((each) => each.stop()));
      await rm(folder, { recursive: true });
    },
  };
}
