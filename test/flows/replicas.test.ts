/**
 * Three replicas, one Redis: any of them answers any request, and what one ends is ended everywhere. In `npm run test:long`
 * each is a process of its own.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { type Cluster, startCluster, startClusterHere } from "../support/cluster.ts";
import { eventually } from "../support/eventually.ts";
import { isLong } from "../support/long.ts";
import {
  authorize,
  callTool,
  redeem,
  refresh,
  register,
  revoke,
  signInForTokens,
} from "../support/oauth-client.ts";
import { skipWithoutRedisServer } from "../support/redis.ts";

type Replicas = Cluster<{ url: string; start(): Promise<void>; stop(): Promise<unknown> }>;

const start: (count: number, environment: Record<string, string>) => Promise<Replicas> = isLong
  ? startCluster
  : startClusterHere;

describe("three replicas", { skip: skipWithoutRedisServer() }, () => {
  let cluster: Replicas;
  before(async () => {
    cluster = await start(3, { GRANT_CACHE_SECONDS: "300" });
  });
  after(() => cluster.close());

  test("every request of a session goes to another replica than the one before", async () => {
    for (const offset of [0, 1, 2]) {
      // Another beginning, so that each step of the flow meets each replica.
      for (let i = 0; i < offset; i++) await fetch(`${cluster.baseUrl}/healthz`);
      const client = await register(cluster.baseUrl);
      const tokens = await signInForTokens(cluster.baseUrl, client);
      const { body } = await refresh(cluster.baseUrl, client, tokens.refresh_token);
      for (let call = 0; call < 3; call++) {
        const answer = await callTool(cluster.url, body.access_token, "whoami");
        assert.equal(answer.body.result.structuredContent.subject, "alice");
      }
      assert.equal((await revoke(cluster.baseUrl, client, body.refresh_token)).status, 200);
    }
    assert.equal(cluster.balancer.served.size, 3);
  });

  test("a code redeemed on all of them at once: one wins, and the replay ends what it was given", async () => {
    for (let round = 0; round < 3; round++) {
      const client = await register(cluster.baseUrl);
      const code = (await authorize(cluster.baseUrl, client)).get("code");
      const answers = await Promise.all(
        Array.from({ length: 9 }, (_, i) => redeem(cluster.servers[i % 3]?.url ?? "", client, code)),
      );
      const won = answers.filter(({ status }) => status === 200);
      assert.equal(won.length, 1);
      assert.deepEqual(
        new Set(answers.filter(({ status }) => status !== 200).map(({ body }) => body.error)),
        new Set(["invalid_grant"]),
      );
      await eventually(
        "the end of what it was given",
        async () => (await callTool(cluster.url, won[0]?.body.access_token, "whoami")).status === 401,
      );
    }
  });

  test("a token that one replica issued is good at another at once, although that one kept the grant", async () => {
    const [one, other] = cluster.servers.map(({ url }) => url) as [string, string];
    const client = await register(one);
    let tokens = await signInForTokens(cluster.baseUrl, client);
    for (let round = 0; round < 20; round++) {
      assert.equal((await callTool(`${other}/mcp`, tokens.access_token, "whoami")).status, 200);
      tokens = (await refresh(one, client, tokens.refresh_token)).body;
      assert.equal(
        (await callTool(`${other}/mcp`, tokens.access_token, "whoami")).status,
        200,
        `round ${round}`,
      );
    }
  });

  test("revoked on one replica, refused on the others, which had it in memory", async (t) => {
    const [one, ...others] = cluster.servers.map(({ url }) => url) as [string, string, string];
    const took: number[] = [];
    for (let round = 0; round < 5; round++) {
      const client = await register(one);
      const tokens = await signInForTokens(cluster.baseUrl, client);
      const isRefused = async (url: string) =>
        (await callTool(`${url}/mcp`, tokens.access_token, "whoami")).status === 401;
      for (const url of others) for (let i = 0; i < 3; i++) assert.equal(await isRefused(url), false);
      await revoke(one, client, tokens.refresh_token);
      const revokedAt = performance.now();
      // By the published change: the copies that they keep last for GRANT_CACHE_SECONDS.
      await eventually("it is refused everywhere", async () =>
        (await Promise.all(others.map(isRefused))).every(Boolean),
      );
      took.push(performance.now() - revokedAt);
    }
    const [longest] = took.sort((a, b) => b - a);
    t.diagnostic(`refused everywhere after at most ${Math.round(longest ?? 0)} ms, in five rounds`);
  });
});

describe("a rolling deploy", { skip: skipWithoutRedisServer() }, () => {
  test("two replicas are restarted one after the other under load: no request and no session is lost", async (t) => {
    // As long as the balancer may take to notice on a busy machine.
    const cluster = await start(2, { SHUTDOWN_DELAY_SECONDS: "4", SHUTDOWN_SECONDS: "8" });
    const watching = cluster.balancer.watchReadiness(cluster.ports, 100);
    let running = true;
    let sessions: Array<Promise<void>> = [];
    try {
      const client = await register(cluster.baseUrl);
      const failures: string[] = [];
      let [requests, refreshes] = [0, 0];
      const signIn = () => signInForTokens(cluster.baseUrl, client);
      const signedIn = await Promise.all(Array.from({ length: 4 }, signIn));
      sessions = signedIn.map(async (tokens, session) => {
        for (let round = 0; running; round++) {
          const answer = await callTool(cluster.url, tokens.access_token, "whoami").catch(String);
          requests++;
          if (typeof answer === "string" || answer.status !== 200)
            failures.push(`session ${session}: ${typeof answer === "string" ? answer : answer.status}`);
          if (round % 20 === 19) {
            const refreshed = await refresh(cluster.baseUrl, client, tokens.refresh_token);
            refreshes++;
            if (refreshed.status !== 200) failures.push(`session ${session}: refresh ${refreshed.status}`);
            else tokens = refreshed.body;
          }
          await delay(50);
        }
      });
      for (const server of cluster.servers) {
        await delay(500);
        const before = requests;
        const stopped = server.stop();
        await eventually("calls go on meanwhile", () => requests > before + 8);
        const code = await stopped;
        assert.ok(code === 0 || code === undefined, "it stopped by itself");
        await server.start();
        await eventually("both are used again", () => cluster.balancer.targets.length === 2);
      }
      await eventually("sessions were renewed as well", () => refreshes > 0, 120);
      running = false;
      await Promise.all(sessions);
      t.diagnostic(
        `${requests} calls and ${refreshes} refreshes during two restarts, ${failures.length} failed`,
      );
      assert.deepEqual(failures, []);
    } finally {
      // Or what failed first is hidden by what these fail with when the cluster is gone.
      running = false;
      await Promise.allSettled(sessions);
      watching.close();
      await cluster.close();
    }
  });
});
