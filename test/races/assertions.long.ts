/**
 * A thousand assertions of each kind over two server processes on one Redis, each sent three times to both at the same
 * instant: one answer is a token, every other one says that it was used. ASSERTIONS sets another number.
 */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { startIdentityProvider } from "../../dev/identity-provider/identity-provider.ts";
import { assertionRace, REPLAYED } from "../support/assertion-race.ts";
import { freePort } from "../support/free-port.ts";
import { skipWithoutRedisServer, startRedis } from "../support/redis.ts";
import { startServerProcess } from "../support/server-process.ts";
import { ALICE, AUDIENCE, SECRET_KEY } from "../support/test-server.ts";

const ASSERTIONS = Number(process.env.ASSERTIONS ?? 1_000);

const cleanUp: Array<() => Promise<unknown> | unknown> = [];
after(async () => {
  for (const clean of cleanUp.reverse()) await clean();
});

describe("races of assertions", { skip: skipWithoutRedisServer() }, () => {
  for (const kind of ["id-jag", "workload", "client-assertion"] as const)
    test(`over two processes one copy of each assertion is accepted: ${kind}`, async (t) => {
      const { urls, race } = await startServers();
      const outcomes = new Map<string, number>();
      const startedAt = performance.now();
      for (const answers of await race.run(kind, urls, ASSERTIONS)) {
        const outcome = answers.join(", ");
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      }
      const seconds = Math.round((performance.now() - startedAt) / 1000);
      t.diagnostic(JSON.stringify({ ...Object.fromEntries(outcomes), seconds }));
      const once = ["200 Bearer", ...Array.from({ length: 5 }, () => REPLAYED[kind])].join(", ");
      assert.deepEqual([...outcomes], [[once, ASSERTIONS]]);
    });
});

let started: ReturnType<typeof start> | undefined;
/** For all tests together. */
const startServers = () => {
  started ??= start();
  return started;
};

async function start() {
  const race = await assertionRace({ after: (close) => void cleanUp.push(close) });
  const redis = await startRedis();
  cleanUp.push(() => redis.stop());
  const ports = [await freePort(), await freePort()];
  const baseUrl = `http://localhost:${ports[0]}`;
  const identityProvider = await startIdentityProvider({
    port: 0,
    client: { id: "proxy", secret: "proxy-secret", redirectUris: [`${baseUrl}/auth/callback`] },
    audience: AUDIENCE,
    scopes: ["weather:read"],
    users: [ALICE],
    behaviour: { advertisesApiScopes: true },
  });
  cleanUp.push(() => identityProvider.close());
  const servers = await Promise.all(
    ports.map((port) =>
      startServerProcess({
        ...race.environment,
        BASE_URL: baseUrl,
        PORT: String(port),
        HOST: "127.0.0.1",
        OIDC_ISSUER: identityProvider.issuer,
        OIDC_CLIENT_ID: "proxy",
        OIDC_CLIENT_SECRET: "proxy-secret",
        OIDC_AUDIENCE: AUDIENCE,
        REDIS_URL: redis.url,
        SECRET_KEY,
        LOG_LEVEL: "silent",
      }),
    ),
  );
  for (const server of servers) cleanUp.push(() => server.kill());
  return { race, urls: servers.map(({ url }) => url) };
}
