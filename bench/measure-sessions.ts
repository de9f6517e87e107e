/** Sign-ins and refreshes, one after the other, and what live sessions weigh. */

import type { Browser } from "../dev/client/browser.ts";
import {
  authorizeUrl,
  newBrowser,
  type Registered,
  redeem,
  refresh,
  register,
  type Tokens,
} from "../test/support/oauth-client.ts";
import { signIn as walk } from "../test/support/sign-in.ts";
import { type Deployment, signIn } from "./deployment.ts";
import { load } from "./load.ts";
import { meterRedis, type RedisMeter } from "./redis-meter.ts";
import { type Spread, spread } from "./statistics.ts";

export interface SessionFigures {
  /** HTTP requests of client and browser, from /authorize to the tokens, those to the identity provider included. */
  signInHops: number;
  /** Milliseconds, client, browser, server, identity provider and Redis together. */
  signInMs: Spread;
  signInOperations: number;
  signInRedisCommands: number;
  refreshMs: Spread;
  refreshOperations: number;
  refreshRedisCommands: number;
  sessions: number;
  /** Bytes. */
  redisPerSession: number;
  processPerSession: number;
}

/** Store operations as the server itself counts them (`mcp_store_seconds_count`), without readiness checks. */
async function operations(baseUrl: string): Promise<number> {
  const text = await (await fetch(`${baseUrl}/metrics`)).text();
  const counts = [...text.matchAll(/^mcp_store_seconds_count\{operation="(?!ping)[^}]*\} (\d+)/gm)];
  return counts.reduce((sum, [, count]) => sum + Number(count), 0);
}

export async function measureSessions(
  deployment: Deployment,
  { signIns, sessions }: { signIns: number; sessions: number },
): Promise<SessionFigures> {
  const baseUrl = `http://localhost:${deployment.port}`;
  const redis = await meterRedis(deployment.redis.url);
  const client = await register(baseUrl);
  await oneSignIn(baseUrl, client, "alice"); // the first use of a registration is written down
  const counting = { baseUrl, redis, times: signIns };
  let hops = 0;
  const made: Tokens[] = [];
  const signingIn = await measured(counting, async () => {
    const { tokens, browser } = await oneSignIn(baseUrl, client, `bench-${made.length}`);
    hops = browser.history.length + 1;
    made.push(tokens);
  });
  const refreshing = await measured(counting, async (round) => {
    const answer = await refresh(baseUrl, client, made[round]?.refresh_token ?? "");
    if (answer.status !== 200) throw new Error(`The refresh answered ${answer.status}`);
  });
  const weights = await weigh(deployment, redis, sessions);
  await redis.close();
  return {
    signInHops: hops,
    signInMs: signingIn.ms,
    signInOperations: signingIn.operations,
    signInRedisCommands: signingIn.commands,
    refreshMs: refreshing.ms,
    refreshOperations: refreshing.operations,
    refreshRedisCommands: refreshing.commands,
    sessions,
    ...weights,
  };
}

async function oneSignIn(
  baseUrl: string,
  client: Registered,
  login: string,
): Promise<{ tokens: Tokens; browser: Browser }> {
  const browser = newBrowser();
  const callback = await walk(browser, authorizeUrl(baseUrl, client), { login });
  const answer = await redeem(baseUrl, client, callback.searchParams.get("code"));
  if (answer.status !== 200) throw new Error(`/token answered ${answer.status}`);
  return { tokens: answer.body, browser };
}

async function measured(
  { baseUrl, redis, times }: { baseUrl: string; redis: RedisMeter; times: number },
  once: (round: number) => Promise<void>,
): Promise<{ ms: Spread; operations: number; commands: number }> {
  const took: number[] = [];
  const before = [await operations(baseUrl), await redis.commands()] as const;
  for (let round = 0; round < times; round++) {
    const startedAt = performance.now();
    await once(round);
    took.push(performance.now() - startedAt);
  }
  const after = [await operations(baseUrl), await redis.commands()] as const;
  return {
    ms: spread(took),
    operations: (after[0] - before[0]) / times,
    commands: (after[1] - before[1]) / times,
  };
}

/** Made by one process, used by another, so that nothing but the use of them is in its memory. */
async function weigh(deployment: Deployment, redis: RedisMeter, sessions: number) {
  const { access_token: accessToken } = await signIn(deployment);
  const maker = await deployment.ours({ tools: 1, guarded: false });
  const user = await deployment.ours(
    { tools: 1, guarded: true },
    { GRANT_CACHE_ENTRIES: String(sessions + 1) },
  );
  await load(user, redis, { amount: 2_000, generation: "2025-11-25", accessTokens: [accessToken] });
  const [redisBefore, processBefore] = [await redis.usedMemory(), await user.memory()];
  const accessTokens = await maker.ask<string[]>({ accessToken, sessions });
  const redisPerSession = ((await redis.usedMemory()) - redisBefore) / sessions;
  const { errors } = await load(user, redis, { amount: sessions, generation: "2025-11-25", accessTokens });
  if (errors > 0) throw new Error(`${errors} of ${sessions} sessions were not served`);
  const processPerSession = ((await user.memory()) - processBefore) / sessions;
  return { redisPerSession, processPerSession };
}
