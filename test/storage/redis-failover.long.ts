/** Failover of a Sentinel deployment and of a Cluster: a master goes, another takes over, and nothing has to be restarted. */
import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { redisStore } from "../../src/storage/redis/redis.ts";
import type { RedisTopology } from "../../src/storage/redis/topology.ts";
import type { KeyValueStore } from "../../src/storage/store.ts";
import { skipWithoutRedisServer } from "../support/redis.ts";
import { tellRedis, until, untilReplicated } from "../support/redis-admin.ts";
import { startRedisCluster } from "../support/redis-cluster.ts";
import { MASTER_NAME, startRedisSentinel } from "../support/redis-sentinel.ts";
import { keptLog, ready } from "./support.ts";

const PASSWORD = "p@ss/word";

describe("a failover", { skip: skipWithoutRedisServer() }, () => {
  test("of a Sentinel deployment: asked for, after a master hangs, and after it dies", async (t) => {
    const deployment = await startRedisSentinel();
    t.after(() => deployment.stop());
    const { url, sentinelUrls: sentinels, master: one, replica: other, dataUrl } = deployment;
    const load = await startLoad(t, { url, sentinels }, () => untilReplicated(dataUrl(one)));
    type Node = { port: number };

    const untilMaster = (node: Node) =>
      until(
        "the Sentinels chose another",
        async () => (await deployment.masterNow()) === `127.0.0.1:${node.port}`,
      );
    const role = async (node: Node) => String(await tellRedis(dataUrl(node), "ROLE")).split(",")[0];
    /** The Sentinels do so, too, after eight seconds. */
    async function demote(node: Node, master: Node): Promise<void> {
      await tellRedis(dataUrl(node), "REPLICAOF", "127.0.0.1", String(master.port));
      await untilReplicated(dataUrl(master));
    }

    await load.during("asked for", async () => {
      await tellRedis(sentinels[0] ?? "", "SENTINEL", "FAILOVER", MASTER_NAME);
      await untilMaster(other);
      assert.equal(await role(one), "master", "nobody told the old one yet: what is written there gets lost");
    });
    await load.untilWritesArriveAt(dataUrl(other));
    await demote(one, other);

    await load.during("after it hung", async () => {
      await other.kill("SIGSTOP");
      await untilMaster(one);
    });
    await other.kill("SIGCONT");
    await load.untilWritesArriveAt(dataUrl(one));
    await demote(other, one);

    await load.during("after it died, and a Sentinel with it", async () => {
      await Promise.all([deployment.sentinels[2]?.kill(), one.kill()]);
      await untilMaster(other);
    });
    await load.stop();
  });

  test("of a Cluster: asked for, and after a master died", async (t) => {
    const cluster = await startRedisCluster({ replicas: 1, password: PASSWORD });
    t.after(() => cluster.stop());
    const { masters, replicas, urlOf } = cluster;
    const [first, replica] = [masters[0]!, replicas[0]!];
    const isMaster = async (node: { port: number }) =>
      String(await tellRedis(urlOf(node), "INFO", "replication")).includes("role:master") &&
      String(await tellRedis(urlOf(masters[1]!), "CLUSTER", "INFO")).includes("cluster_state:ok");
    const load = await startLoad(t, { clusterNodes: cluster.urls }, () => untilReplicated(urlOf(first)));

    await load.during("asked for", async () => {
      await tellRedis(urlOf(replica), "CLUSTER", "FAILOVER");
      await until("the replica is master", () => isMaster(replica));
    });
    await untilReplicated(urlOf(replica));

    await load.during("after it died", async () => {
      await replica.kill();
      const kept = await load.safeKeysThatAnswer();
      assert.ok(kept > 0, "what the other masters have is there meanwhile");
      t.diagnostic(`${kept} of ${SAFE_KEYS} records were there right after one of three masters died`);
      await until("the other is master", () => isMaster(first));
    });
    await load.stop();
  });
});

const SAFE_KEYS = 60;
const KEY_PREFIX = "failover";

interface Load {
  /** How long after `failover` everything is as before, and what was refused until then. */
  during(what: string, failover: () => Promise<void>): Promise<void>;
  /** Does not ask the store where it writes to. */
  untilWritesArriveAt(url: string): Promise<void>;
  /** Of {@link SAFE_KEYS}; the others are unavailable. */
  safeKeysThatAnswer(): Promise<number>;
  stop(): Promise<void>;
}

/**
 * Reads, writes and compare-and-sets without a pause, from two processes' worth of connections. Whatever goes wrong, an
 * answer is right or an UnavailableError.
 */
async function startLoad(
  t: TestContext,
  topology: RedisTopology,
  replicated: () => Promise<void>,
): Promise<Load> {
  const { log, lines } = keptLog();
  const connect = () => redisStore({ ...topology, keyPrefix: KEY_PREFIX, commandTimeoutMs: 500, log });
  const processes = [connect(), connect()];
  t.after(() => Promise.all(processes.map((records) => records.close())));
  const [records, other] = processes as [KeyValueStore, KeyValueStore];
  await ready(records);
  await ready(other);
  const safeKeys = Array.from({ length: SAFE_KEYS }, (_, i) => `safe:${i}`);
  await Promise.all(safeKeys.map((key) => records.put(key, `value of ${key}`, 600)));
  await replicated();

  let running = true;
  t.after(() => {
    running = false;
  });
  let done = 0;
  let refused = 0;
  const workers = processes.flatMap((records, process) => [
    work(records, `${process}a`),
    work(records, `${process}b`),
  ]);

  async function work(records: KeyValueStore, worker: string): Promise<void> {
    for (let i = 0; running; i++) {
      await attempt(() => readSafe(records, i));
      await attempt(() => records.put(`load:${worker}:${i % 50}`, String(i), 60));
      await attempt(() => increment(records, `counter:${worker}:${i % 10}`));
      await delay(2);
    }
  }

  async function attempt(action: () => Promise<void>): Promise<void> {
    try {
      await action();
      done++;
    } catch (error) {
      assert.ok(error instanceof UnavailableError, `${error}`);
      refused++;
    }
  }

  async function readSafe(records: KeyValueStore, i: number): Promise<void> {
    const key = safeKeys[i % SAFE_KEYS] ?? "";
    assert.equal(await records.get(key), `value of ${key}`);
  }

  async function increment(records: KeyValueStore, key: string): Promise<void> {
    const current = await records.get(key);
    await records.replace(key, current, String(Number(current ?? "0") + 1), 60);
  }

  /** Everything that can be asked, on both, without a refusal. */
  async function everythingWorks(): Promise<boolean> {
    for (const records of processes)
      for (const [i, key] of safeKeys.entries()) {
        await readSafe(records, i);
        await records.put(`works:${key}`, "x", 60);
      }
    return true;
  }

  return {
    async during(what, failover) {
      const before = { done, refused };
      const start = performance.now();
      await failover();
      const decided = performance.now();
      await until("everything works again", everythingWorks, { everyMs: 20 });
      t.diagnostic(
        `${what}: Redis decided after ${Math.round(decided - start)} ms, everything worked ` +
          `${Math.round(performance.now() - decided)} ms later; ${done - before.done} operations done, ` +
          `${refused - before.refused} refused`,
      );
    },
    async untilWritesArriveAt(url) {
      for (const [i, records] of processes.entries())
        await until("writes arrive", async () => {
          const value = `${Math.random()}`;
          await records.put(`arrives:${i}`, value, 60);
          return (await tellRedis(url, "GET", `${KEY_PREFIX}:arrives:${i}`)) === value;
        });
    },
    async safeKeysThatAnswer() {
      const answers = await Promise.allSettled(safeKeys.map((_, i) => readSafe(records, i)));
      for (const answer of answers)
        if (answer.status === "rejected") assert.ok(answer.reason instanceof UnavailableError);
      return answers.filter(({ status }) => status === "fulfilled").length;
    },
    async stop() {
      running = false;
      await Promise.all(workers);
      assert.ok(done > 0);
      assert.doesNotMatch(JSON.stringify(lines), /secret|p@ss|p%40ss/);
      for (const { msg, ...rest } of lines) t.diagnostic(`log: ${msg} ${JSON.stringify(rest)}`);
    },
  };
}
