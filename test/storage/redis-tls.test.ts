/** Redis over TLS: who signed the server's certificate decides, and the log says what is wrong. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { loadConfig } from "../../src/config/config.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { redisStore } from "../../src/storage/redis/redis.ts";
import type { RedisTopology } from "../../src/storage/redis/topology.ts";
import { skipWithoutRedisServer } from "../support/redis.ts";
import { startRedisCluster } from "../support/redis-cluster.ts";
import { startTlsRedis, type TestTlsRedis } from "../support/redis-tls.ts";
import { keptLog, logged, ready } from "./support.ts";

describe("Redis over TLS", { skip: skipWithoutRedisServer() }, () => {
  let server: TestTlsRedis;
  before(async () => {
    server = await startTlsRedis();
  });
  after(() => server.stop());

  test("with the private authority that the settings name, works", async (t) => {
    const { store } = loadConfig({
      BASE_URL: "https://mcp.example.com",
      OIDC_ISSUER: "https://login.example.com",
      OIDC_CLIENT_ID: "id",
      OIDC_CLIENT_SECRET: "secret",
      SECRET_KEY: "fRZ3yk0Hr1hVQ8m5uM4p9c2oXwTe7SjL",
      REDIS_URL: server.url,
      REDIS_CA_FILE: server.caFile,
    });
    assert.ok(store.kind === "redis");
    const { log } = keptLog();
    const records = redisStore({ ...store, log });
    t.after(() => records.close());
    await ready(records);
    await records.put("k", "v", 60);
    assert.equal(await records.get("k"), "v");
  });

  test("with a cluster, whose nodes are known by address only, works", async (t) => {
    const cluster = await startRedisCluster({ password: "p@ss", tls: server.args });
    t.after(() => cluster.stop());
    const topology = { clusterNodes: cluster.urls.slice(0, 1), ca: server.ca };
    const { log } = keptLog();
    const records = redisStore({ ...topology, keyPrefix: "tls", commandTimeoutMs: 1_000, log });
    t.after(() => records.close());
    await ready(records);
    const keys = Array.from({ length: 30 }, (_, i) => `k:${i}`);
    for (const key of keys) await records.put(key, key, 60);
    for (const key of keys) assert.equal(await records.get(key), key);
  });

  const refused: Array<[string, () => RedisTopology, RegExp]> = [
    [
      "signed by somebody else",
      () => ({ url: server.url, ca: server.foreignCa }),
      /self-signed certificate in certificate chain|unable to verify|signature failure/,
    ],
    [
      "signed by somebody whom nobody named",
      () => ({ url: server.url }),
      /self-signed certificate in certificate chain|unable to verify/,
    ],
    [
      "of another host",
      () => ({ url: server.url.replace("127.0.0.1", "localhost"), ca: server.ca }),
      /does not match certificate's altnames/,
    ],
    [
      "asked for without TLS",
      () => ({ url: server.url.replace("rediss:", "redis:") }),
      /closed|ECONNRESET|no answer/,
    ],
  ];
  for (const [name, topology, cause] of refused)
    test(`a certificate that is ${name} is refused, and the log says why`, async (t) => {
      const { log, lines } = keptLog();
      const records = redisStore({ ...topology(), keyPrefix: "tls", commandTimeoutMs: 1_000, log });
      t.after(() => records.close());
      t.diagnostic((await logged(lines, "redis_unavailable", cause)).cause ?? "");
      await assert.rejects(records.put("k", "v", 60), UnavailableError);
    });
});
