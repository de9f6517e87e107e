/**
 * Everything that a deployment is asked for, with more sessions of one client than any command may touch at a time: whatever the
 * server and the command line then tell Redis is bounded, command for command.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { pino } from "pino";
import { storedUsers } from "../../src/access/stored-users.ts";
import { loadConfig } from "../../src/config/config.ts";
import { readToken } from "../../src/grants/opaque-token.ts";
import { grantFormat } from "../../src/grants/stored-grant.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { redisStore } from "../../src/storage/redis/redis.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import { untilReady } from "../../src/storage/until-ready.ts";
import { type Admin, adminOf, environmentOf } from "../admin/support.ts";
import { type Cluster, startClusterHere } from "../support/cluster.ts";
import { openConnections } from "../support/connections.ts";
import { copyGrant } from "../support/copied-grants.ts";
import {
  callTool,
  newBrowser,
  postForm,
  type Registered,
  refresh,
  register,
  revoke,
  signInForTokens,
} from "../support/oauth-client.ts";
import { logoutClaims, publishKey, type Sign } from "../support/provider-key.ts";
import { skipWithoutRedisServer } from "../support/redis.ts";
import { growthOf, watchRedis } from "../support/redis-commands.ts";
import type { ServerHere } from "../support/server-here.ts";
import { REDIS_TIMEOUT_MS } from "../support/test-server.ts";

const SESSIONS = 300;
/** Reading it, its mark, its removal with the change that is published, its indexes and what else is kept of it. */
const COMMANDS_OF_AN_END = 24;

describe("commands of Redis", { skip: skipWithoutRedisServer() }, () => {
  let cluster: Cluster<ServerHere>;
  let admin: Admin;
  let client: Registered;
  let sign: Sign;
  before(async () => {
    cluster = await startClusterHere(2, { MAX_GRANTS_PER_USER: "100" });
    admin = adminOf(cluster);
    sign = await publishKey(cluster.upstream);
    client = await register(cluster.baseUrl);
  });
  after(() => cluster.close());

  /** As if so many people had signed in with the client. */
  async function fill(count: number): Promise<void> {
    const { access_token: token } = await signInForTokens(cluster.baseUrl, client);
    const config = loadConfig({ ...environmentOf(cluster), REDIS_TIMEOUT_MS });
    if (config.store.kind !== "redis") throw new Error("no Redis");
    const log = pino({ level: "silent" });
    const records = redisStore({ ...config.store, log });
    try {
      await untilReady(records);
      const format = grantFormat(storedUsers(config.identityProviders));
      const store = encryptedStore({
        records,
        sealer: createSealer(config.secretKeys),
        log,
        kind: "grant",
        ...format,
      });
      const grant = await store.get(readToken("access", token)?.grantId ?? "");
      assert.ok(grant !== undefined);
      await copyGrant({ records, config }, grant, count);
    } finally {
      await records.close();
    }
  }

  /** How many commands it took. @throws if the work of one of them may grow with what is stored */
  async function bounded(work: () => Promise<unknown>): Promise<number> {
    const watched = await watchRedis(cluster.redis.url);
    try {
      await work();
      const problems = watched.commands.map(growthOf).filter((each) => each !== undefined);
      assert.deepEqual([...new Set(problems)], []);
      return watched.commands.length;
    } finally {
      watched.stop();
    }
  }

  async function ok(args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await admin(args, { UPSTREAM_TIMEOUT_SECONDS: "30" });
    assert.equal(code, 0, stderr.slice(-500));
    return stdout;
  }

  test("what people and clients ask for", async () => {
    await fill(SESSIONS);
    const browser = newBrowser();
    await bounded(async () => {
      const tokens = await signInForTokens(cluster.baseUrl, client, { browser });
      for (const { url } of cluster.servers)
        assert.equal((await callTool(`${url}/mcp`, tokens.access_token, "whoami")).status, 200);
      const { status, body } = await refresh(cluster.baseUrl, client, tokens.refresh_token);
      assert.equal(status, 200);
      assert.match((await openConnections(cluster.baseUrl, { browser })).body, /Test client/);
      assert.equal((await revoke(cluster.baseUrl, client, body.refresh_token)).status, 200);
      await signInForTokens(cluster.baseUrl, client, { browser });
      const { port } = cluster.upstream;
      const logout_token = await sign(logoutClaims(`http://localhost:${port}`, { sub: "alice" }));
      const out = await postForm(`${cluster.baseUrl}/auth/backchannel-logout`, { logout_token });
      assert.equal(out.status, 200);
    });
  });

  test("what an operator lists", async () => {
    const { client_id: id } = client;
    await bounded(async () => {
      await ok(["grants", "list", "--json"]);
      await ok(["grants", "list", "--user", "user 7"]);
      await ok(["clients", "list"]);
      assert.match(await ok(["clients", "show", id]), new RegExp(`Grants +${SESSIONS}\\b`));
    });
  });

  test("the end of all that a client holds, by the operator or by the client: so many commands for each, and none for many", async () => {
    const { client_id: id } = client;
    const byOperator = await bounded(() => ok(["grants", "revoke", "--client", id, "--yes"]));
    await fill(SESSIONS);
    const byClient = await bounded(async () => {
      const removed = await fetch(String(client.registration_client_uri), {
        method: "DELETE",
        headers: { Authorization: `Bearer ${client.registration_access_token}` },
      });
      assert.equal(removed.status, 204);
    });
    for (const commands of [byOperator, byClient])
      assert.ok(commands <= (SESSIONS + 20) * COMMANDS_OF_AN_END, `${commands}`);
  });
});
