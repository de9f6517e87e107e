/**
 * A great many members in every index that a sign-in and an end touch: what they cost is what Redis itself counts, and not
 * more than in an empty one but for a few members that are looked at on the way.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createClient } from "@keyv/redis";
import { storedUsers } from "../../src/access/stored-users.ts";
import { clientIndex, sessionIndex, userIndex } from "../../src/grants/grant-index.ts";
import { isLong } from "../support/long.ts";
import { authorize, newBrowser, type Registered, redeem, register, revoke } from "../support/oauth-client.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { growthOf, watchRedis } from "../support/redis-commands.ts";
import { claimsIn } from "../support/requester.ts";
import { useTestServer } from "../support/test-server.ts";

const MEMBERS = isLong ? 1_000_000 : 100_000;
const AT_ONCE = MEMBERS / 10;
/** Members that are looked at: in each of three indexes 16, with two commands; of the user the limit and a few, with four. */
const MOST_MORE_COMMANDS = 3 * 16 * 2 + 116 * 4 + 20;

describe(`${MEMBERS} members in every index`, { skip: skipWithoutRedisServer() }, () => {
  let redis: TestRedis;
  let client: Registered;
  const browser = newBrowser();
  let tell: (...command: string[]) => Promise<unknown>;
  let disconnect: () => void;
  const testServer = useTestServer(async () => {
    redis = await startRedis();
    const connection = createClient({ url: redis.url }).on("error", () => {});
    await connection.connect();
    tell = (...command) => connection.sendCommand(command);
    disconnect = () => connection.destroy();
    return { redisUrl: redis.url };
  });
  before(async () => {
    client = await register(testServer.baseUrl);
  });
  after(async () => {
    disconnect();
    await redis.stop();
  });

  async function bytesSent(): Promise<number> {
    return Number(/^total_net_output_bytes:(\d+)/m.exec(String(await tell("INFO", "stats")))?.[1]);
  }

  /** A sign-in from the provider's session of this browser, and its end. */
  async function signInAndOut(): Promise<string> {
    const code = (await authorize(testServer.baseUrl, client, { browser })).get("code");
    const { body } = await redeem(testServer.baseUrl, client, code);
    const grant = await testServer.grantOf(body.access_token);
    assert.equal((await revoke(testServer.baseUrl, client, body.refresh_token)).status, 200);
    return String(claimsIn(grant).sid);
  }

  /** Bytes of one, and commands of another, because to be watched is an answer of many bytes. */
  async function costOfOne() {
    const before = await bytesSent();
    const sid = await signInAndOut();
    const bytes = (await bytesSent()) - before;
    const watched = await watchRedis(redis.url);
    assert.equal(await signInAndOut(), sid);
    watched.stop();
    const growing = watched.commands.map(growthOf).filter((each) => each !== undefined);
    return { sid, growing, cost: { commands: watched.commands.length, bytes } };
  }

  /** Half of each as the landed version left it, half of it due here. */
  async function fill(...indexes: string[]): Promise<void> {
    const { keyPrefix } = testServer.config.store as { keyPrefix: string };
    const [first = "", ...others] = indexes.map((index) => `${keyPrefix}:index:${index}`);
    const day = Math.floor(Date.now() / 1000) - 86_400;
    const add = "for i = 1, ARGV[2] do redis.call('ZADD', KEYS[1], ARGV[1], 'gone-' .. ARGV[3] + i) end";
    for (let i = 0; i < MEMBERS; i += AT_ONCE) {
      const score = i % (2 * AT_ONCE) === 0 ? day : day * 1000;
      await tell("EVAL", add, "1", first, String(score), String(AT_ONCE), String(i));
    }
    for (const other of others) await tell("COPY", first, other, "REPLACE");
  }

  test("a sign-in and the end of a grant cost what they cost with empty indexes, and no command reads a whole index", async (t) => {
    await signInAndOut(); // connections are made, and scripts are known
    const empty = await costOfOne();
    const [{ issuer }] = testServer.config.identityProviders;
    const users = storedUsers([{ issuer }]);
    await fill(
      userIndex({ issuer, subject: "alice" }, users),
      clientIndex(client.client_id),
      sessionIndex({ issuer, sid: empty.sid }, users),
    );
    const full = await costOfOne();
    t.diagnostic(`empty ${JSON.stringify(empty.cost)}, full ${JSON.stringify(full.cost)}`);
    assert.equal(full.sid, empty.sid);
    assert.ok(full.cost.commands <= empty.cost.commands + MOST_MORE_COMMANDS, "commands");
    assert.ok(full.cost.bytes <= empty.cost.bytes + 65_536, "bytes");
    assert.deepEqual(full.growing, []);
  });
});
