/**
 * What a sign-in, an end and a sign-out cost whose indexes (of the user, the client and the provider's session) hold a
 * million members, beside another user's whose indexes are empty: in turns, on one server and one Redis.
 */
import { createClient } from "@keyv/redis";
import { claimsOf } from "../src/access/principal.ts";
import { storedUsers } from "../src/access/stored-users.ts";
import { clientIndex, sessionIndex, userIndex } from "../src/grants/grant-index.ts";
import { copyGrant } from "../test/support/copied-grants.ts";
import { startFaultyProxy } from "../test/support/faulty-proxy.ts";
import {
  authorize,
  newBrowser,
  postForm,
  type Registered,
  redeem,
  register,
  revoke,
} from "../test/support/oauth-client.ts";
import { logoutClaims, publishKey } from "../test/support/provider-key.ts";
import { startRedis } from "../test/support/redis.ts";
import { startTestServer } from "../test/support/test-server.ts";
import { ratio, type Spread, spread } from "./statistics.ts";

const AT_ONCE = 2_000;
/** What a request has not ended within its time, the next one goes on with (503). */
const MOST_REQUESTS = 100;
const STEPS = ["sign-in", "end of one grant", "sign-out at the provider"] as const;
type Step = (typeof STEPS)[number];

export interface Growth {
  members: number;
  steps: Array<{ step: Step; emptyMs: Spread; fullMs: Spread; ratio: Spread }>;
  /** The longest that Redis was held by one command meanwhile, in microseconds by its own clock. */
  longestCommand: { microseconds: number; command: string };
  removal: { grants: number; requests: number; seconds: number; longestMicroseconds: number };
}

interface Person {
  login: string;
  client: Registered;
  browser: ReturnType<typeof newBrowser>;
}

export async function measureGrowth(effort: {
  members: number;
  rounds: number;
  removed: number;
}): Promise<Growth> {
  const redis = await startRedis();
  const upstream = await startFaultyProxy();
  const sign = await publishKey(upstream);
  const testServer = await startTestServer({
    redisUrl: redis.url,
    throughProxy: upstream,
    environment: { REDIS_TIMEOUT_MS: "10000" },
  });
  const connection = createClient({ url: redis.url }).on("error", () => {});
  await connection.connect();
  const tell = (...command: string[]) => connection.sendCommand(command);

  const person = async (login: string): Promise<Person> => ({
    login,
    client: await register(testServer.baseUrl),
    browser: newBrowser(),
  });
  async function signIn({ login, client, browser }: Person) {
    const code = (await authorize(testServer.baseUrl, client, { browser, login })).get("code");
    const { body } = await redeem(testServer.baseUrl, client, code);
    return { accessToken: String(body.access_token), refreshToken: String(body.refresh_token) };
  }
  async function sidOf(accessToken: string): Promise<string> {
    const grant = await testServer.grantOf(accessToken);
    return String(grant && claimsOf(grant.principal).sid);
  }

  /** The time of each step, once. */
  async function steps(who: Person): Promise<Record<Step, number>> {
    const first = await timed(() => signIn(who));
    const end = await timed(() => revoke(testServer.baseUrl, who.client, first.result.refreshToken));
    const second = await signIn(who);
    const claims = logoutClaims(testServer.identityProvider.issuer, {
      sub: who.login,
      sid: await sidOf(second.accessToken),
    });
    const logout_token = await sign(claims);
    const out = await timed(() =>
      postForm(`${testServer.baseUrl}/auth/backchannel-logout`, { logout_token }),
    );
    if (end.result.status !== 200 || out.result.status !== 200) throw new Error("A step was refused");
    return { "sign-in": first.ms, "end of one grant": end.ms, "sign-out at the provider": out.ms };
  }

  async function fill(index: string, members: number): Promise<void> {
    const key = `${(testServer.config.store as { keyPrefix: string }).keyPrefix}:index:${index}`;
    const later = Math.floor(Date.now() / 1000) + 30 * 86_400;
    for (let i = 0; i < members; i += AT_ONCE) {
      const added = Array.from({ length: AT_ONCE }, (_, j) => [String(later * 1000), `other-${i + j}`]);
      await tell("ZADD", key, ...added.flat());
    }
  }
  /** The slowest command since the last time it was asked. */
  async function longest(): Promise<Growth["longestCommand"]> {
    const entries = (await tell("SLOWLOG", "GET", "128")) as unknown as Array<
      [number, number, number, string[]]
    >;
    await tell("SLOWLOG", "RESET");
    const [most] = entries.toSorted((one, other) => other[2] - one[2]);
    return { microseconds: most?.[2] ?? 0, command: String(most?.[3]?.slice(0, 2).join(" ").slice(0, 60)) };
  }

  try {
    const [full, empty] = [await person("alice"), await person("bob")];
    for (const who of [full, empty, full, empty]) await steps(who); // connections are made, scripts are known
    const probe = await signIn(full);
    const [{ issuer }] = testServer.config.identityProviders;
    const users = storedUsers([{ issuer }]);
    const names = [
      userIndex({ issuer, subject: "alice" }, users),
      clientIndex(full.client.client_id),
      sessionIndex({ issuer, sid: await sidOf(probe.accessToken) }, users),
    ];
    for (const name of names) await fill(name, effort.members);
    await tell("CONFIG", "SET", "slowlog-log-slower-than", "1000");
    await tell("CONFIG", "SET", "slowlog-max-len", "128");
    await tell("SLOWLOG", "RESET");
    const times = { full: [] as Array<Record<Step, number>>, empty: [] as Array<Record<Step, number>> };
    for (let round = 0; round < effort.rounds; round++) {
      times.empty.push(await steps(empty));
      times.full.push(await steps(full));
    }
    const longestCommand = await longest();
    const removal = await removeClient(effort.removed);
    return {
      members: effort.members,
      steps: STEPS.map((step) => {
        const [emptyMs, fullMs] = [times.empty, times.full].map((all) => all.map((each) => each[step])) as [
          number[],
          number[],
        ];
        return { step, emptyMs: spread(emptyMs), fullMs: spread(fullMs), ratio: ratio(fullMs, emptyMs) };
      }),
      longestCommand,
      removal,
    };
  } finally {
    connection.destroy();
    await testServer.close();
    await upstream.close();
    await redis.stop();
  }

  /** Removes a registration with many live grants, copies of one that was signed in for. */
  async function removeClient(grants: number): Promise<Growth["removal"]> {
    const who = await person("bob");
    const { accessToken } = await signIn(who);
    const grant = await testServer.grantOf(accessToken);
    if (grant === undefined) throw new Error("No grant");
    await copyGrant(testServer, grant, grants);
    await tell("SLOWLOG", "RESET");
    const remove = () =>
      fetch(`${who.client.registration_client_uri}`, {
        method: "DELETE",
        headers: { Authorization: `Bearer ${who.client.registration_access_token}` },
      });
    let requests = 0;
    const removed = await timed(async () => {
      for (let status = 0; status !== 204; requests++) {
        if (requests === MOST_REQUESTS) throw new Error(`The last removal was answered ${status}`);
        status = (await remove()).status;
      }
    });
    return {
      grants,
      requests,
      seconds: removed.ms / 1000,
      longestMicroseconds: (await longest()).microseconds,
    };
  }
}

async function timed<Result>(run: () => Promise<Result>): Promise<{ result: Result; ms: number }> {
  const start = performance.now();
  const result = await run();
  return { result, ms: performance.now() - start };
}
