/** The doctor and real servers of Redis that are set up as people set them up. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { createSealer } from "../../src/storage/sealer.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { tellRedis } from "../support/redis-admin.ts";
import { startTlsRedis } from "../support/redis-tls.ts";
import { listenSilently, look, NOTHING_WORKS, SECRET_KEY } from "./support.ts";

const closing: Array<() => Promise<void>> = [];
after(async () => {
  // The folder was made first and goes last.
  for (const close of closing.reverse()) await close();
});

/** What a replica or an append-only file writes. */
const folder = mkdtempSync(join(tmpdir(), "doctor-redis-"));
closing.push(async () => rmSync(folder, { recursive: true, force: true }));

async function redis(...args: string[]): Promise<TestRedis> {
  const started = await startRedis({ args: ["--dir", folder, ...args] });
  closing.push(() => started.stop());
  return started;
}

const looking = (url: string, more: Record<string, string | undefined> = {}) =>
  look({ ...NOTHING_WORKS, REDIS_URL: url, ...more });

describe("doctor: Redis", { skip: skipWithoutRedisServer() }, () => {
  test("a good Redis is in order in every check, and no record stays behind", async () => {
    const { url } = await redis("--appendonly", "yes");
    const { findings } = await looking(url);
    const mine = findings.filter(({ check }) => check.startsWith("redis."));
    assert.deepEqual(
      // How long it takes to answer depends on how busy this machine is.
      mine.filter(({ check, status }) => status !== "ok" && check !== "redis.latency"),
      [],
    );
    assert.deepEqual(mine.map(({ check }) => check.slice("redis.".length)).sort(), [
      "clock",
      "eviction",
      "latency",
      "memory",
      "persistence",
      "reachable",
      "records",
      "version",
    ]);
    assert.deepEqual(await tellRedis(url, "KEYS", "*"), []);
  });

  test("eviction, records in memory only and a nearly full memory are warnings", async () => {
    const { url } = await redis("--maxmemory-policy", "allkeys-lru");
    await tellRedis(url, "SET", "full", "x".repeat(15_000_000));
    await tellRedis(url, "CONFIG", "SET", "maxmemory", "20mb");
    const { line } = await looking(url);
    assert.match(
      line("redis.eviction"),
      /^! It drops records .*allkeys-lru.*→ Set maxmemory-policy noeviction/,
    );
    assert.match(line("redis.persistence"), /^! It keeps records in memory only.*→ Set appendonly yes/);
    assert.match(line("redis.memory"), /^! It uses .* of 20 MB \(maxmemory\).*→ Raise maxmemory/);
  });

  test("a full Redis is a failure", async () => {
    const { url } = await redis("--maxmemory", "1mb", "--maxmemory-policy", "noeviction");
    const { line } = await looking(url);
    assert.match(line("redis.records"), /^✗ .*used up its memory/);
  });

  test("a password that is missing, wrong or not wanted is a failure", async () => {
    const { port } = await redis("--requirepass", "right-password");
    const at = (credentials: string) => looking(`redis://${credentials}127.0.0.1:${port}`);
    assert.match((await at("")).line("redis.reachable"), /^✗ .*wants a password, and REDIS_URL has none/);
    assert.match(
      (await at(":wrong-password@")).line("redis.reachable"),
      /^✗ .*refuses the user or password of REDIS_URL/,
    );
    assert.match((await at(":right-password@")).line("redis.reachable"), /^✓/);
    const open = await redis();
    const unwanted = await looking(`redis://somebody:else@127.0.0.1:${open.port}`);
    assert.match(unwanted.line("redis.reachable"), /^✗ .*refuses the user or password/);
  });

  test("a Redis user without the needed permissions is a failure, and a forbidden INFO leaves its checks unknown", async () => {
    const { url, port } = await redis();
    const asUser = (name: string) => looking(`redis://${name}:pw@127.0.0.1:${port}`);
    const commands = [
      "+@read",
      "+@write",
      "+@connection",
      "+@scripting",
      "+@pubsub",
      "+time",
      "-info",
      "-config",
    ];
    await tellRedis(
      url,
      "ACL",
      "SETUSER",
      "reader",
      "on",
      ">pw",
      "~*",
      "&*",
      "+@read",
      "+@connection",
      "+@pubsub",
    );
    await tellRedis(url, "ACL", "SETUSER", "deaf", "on", ">pw", "~*", "resetchannels", ...commands);
    await tellRedis(url, "ACL", "SETUSER", "stranger", "on", ">pw", "~other:*", "&*", ...commands);
    await tellRedis(
      url,
      "ACL",
      "SETUSER",
      "enough",
      "on",
      ">pw",
      "~mcp-oidc-proxy:*",
      "&mcp-oidc-proxy:*",
      ...commands,
    );
    assert.match((await asUser("reader")).line("redis.records"), /^✗ .*does not permit its user/);
    assert.match(
      (await asUser("deaf")).line("redis.records"),
      /^✗ .*does not permit its user.*ACL SETUSER deaf &mcp-oidc-proxy:\* \+@read/,
    );
    assert.match((await asUser("stranger")).line("redis.reachable"), /^✗ .*does not permit its user/);
    const enough = await asUser("enough");
    assert.match(enough.line("redis.records"), /^✓/);
    assert.match(
      enough.line("redis.eviction"),
      /^! Could not tell/,
      "INFO is not permitted: that is said, not guessed",
    );
    assert.match(enough.line("redis.version"), /^! Could not tell/);
  });

  test("a replica is a failure", async () => {
    const master = await redis();
    const replica = await redis("--replicaof", "127.0.0.1", String(master.port));
    const { line } = await looking(replica.url);
    assert.match(
      line("redis.records"),
      /^✗ .*is a replica, to which nothing can be written.*REDIS_SENTINELS/,
    );
  });

  test("records that no key of SECRET_KEY opens are a warning", async () => {
    const { url } = await redis();
    const sealer = createSealer([SECRET_KEY]);
    for (const id of ["a", "b"])
      await tellRedis(url, "SET", `mcp-oidc-proxy:client:${id}`, sealer.seal("{}", `client:${id}`));
    assert.match(
      (await looking(url)).line("redis.readable"),
      /^✓ SECRET_KEY opens what is stored \(2 records/,
    );
    const other = await looking(url, { SECRET_KEY: SECRET_KEY.split("").reverse().join("") });
    assert.match(
      other.line("redis.readable"),
      /^! SECRET_KEY does not open 2 of 2.*put the old one behind it/,
    );
    const rotated = await looking(url, {
      SECRET_KEY: `${SECRET_KEY.split("").reverse().join("")},${SECRET_KEY}`,
    });
    assert.match(rotated.line("redis.readable"), /^✓/);
  });

  test("a Redis that is not there, has an unknown host name or never answers is a failure", async () => {
    assert.match(
      (await looking("redis://127.0.0.1:1")).line("redis.reachable"),
      /^✗ Nothing listens at 127\.0\.0\.1:1.*→ Start Redis/,
    );
    const silent = await listenSilently();
    closing.push(() => silent.close());
    const { line } = await looking(`redis://127.0.0.1:${silent.port}`, { REDIS_TIMEOUT_MS: "500" });
    assert.match(line("redis.reachable"), /^✗ .*does not answer in time/);
    const unnamed = await looking("redis://redis.invalid:6379");
    assert.match(
      unnamed.line("redis.reachable"),
      /^✗ The host name of Redis \(redis\.invalid:6379\) is not known here/,
    );
  });

  test("TLS that is not trusted, or spoken by one side only, is a failure", async () => {
    const tls = await startTlsRedis();
    closing.push(() => tls.stop());
    assert.match(
      (await looking(tls.url)).line("redis.reachable"),
      /^✗ The certificate of Redis .*→ Set REDIS_CA_FILE/,
    );
    assert.match((await looking(tls.url, { REDIS_CA_FILE: tls.caFile })).line("redis.reachable"), /^✓/);
    const plainToTls = await looking(tls.url.replace("rediss:", "redis:"));
    assert.match(plainToTls.line("redis.reachable"), /^✗ .*rediss:\/\//);
    const { port } = await redis();
    const tlsToPlain = await looking(`rediss://127.0.0.1:${port}`);
    assert.match(tlsToPlain.line("redis.reachable"), /^✗ .*redis:\/\//);
  });

  test("Sentinels that do not name the master are a failure", async () => {
    const nobody = await looking("redis://mymaster", { REDIS_SENTINELS: "127.0.0.1:1" });
    assert.match(nobody.line("redis.reachable"), /^✗ .*not named by any Sentinel.*REDIS_SENTINELS/);
  });

  test("STORE=memory is a warning", async () => {
    const { line } = await look({ ...NOTHING_WORKS, REDIS_URL: undefined, STORE: "memory" });
    assert.match(line("redis.reachable"), /^! STORE=memory: a restart of the server signs everybody out/);
  });
});
