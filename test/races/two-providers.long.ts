/**
 * Two identity providers over two replicas on one Redis: sign-ins and refreshes at both at once, and one of them is away in the
 * middle. The other is unharmed, nothing is lost, and no refresh token of a provider is spent twice. RACE_ROUNDS sets the rounds.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Answer } from "../../dev/client/http.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import { callTool, type Registered, refresh, register, signInForTokens } from "../support/oauth-client.ts";
import { redisForTests } from "../support/redis.ts";
import { ALICE, startTestServer, type TestServer } from "../support/test-server.ts";

const ROUNDS = Math.max(9, Math.round(Number(process.env.RACE_ROUNDS ?? 100) / 10));
const SESSIONS = 10;
const CONCURRENT = 4;
/** Of the providers' tokens: they are due in every round. */
const UPSTREAM_SECONDS = 300;

const redis = await redisForTests();
after(() => redis.stop());

type ProviderName = "staff" | "partners";
interface Session {
  provider: ProviderName;
  refreshToken: string;
  accessToken: string;
}

describe("races with two providers", { skip: redis.skip }, () => {
  const upstream = {} as Record<ProviderName, FaultyProxy>;
  let testServer: TestServer;
  let replicas: string[];
  let client: Registered;

  before(async () => {
    upstream.staff = await startFaultyProxy();
    upstream.partners = await startFaultyProxy();
    const behaviour = { accessTokenSeconds: UPSTREAM_SECONDS, refreshTokens: "rotating" } as const;
    testServer = await startTestServer({
      redisUrl: redis.url ?? "",
      throughProxy: upstream.staff,
      behaviour,
      partners: {
        users: [{ ...ALICE, name: "Alice of the partners" }],
        behaviour,
        throughProxy: upstream.partners,
      },
      // All sessions are of one person at each.
      environment: {
        MAX_GRANTS_PER_USER_AND_CLIENT: "1000",
        MAX_GRANTS_PER_USER: "1000",
        REFRESH_GRACE_SECONDS: "60",
      },
    });
    replicas = [testServer.baseUrl, await testServer.replica()];
    client = await register(testServer.baseUrl);
  });
  after(async () => {
    await testServer?.close();
    await upstream.staff?.close();
    await upstream.partners?.close();
  });

  async function signIn(provider: ProviderName): Promise<Session> {
    const tokens = await signInForTokens(testServer.baseUrl, client, {
      parameters: { identity_provider: provider },
    });
    return { provider, refreshToken: tokens.refresh_token, accessToken: tokens.access_token };
  }

  /** Several times at once, over both replicas; the session goes on with what was answered. */
  async function refreshed(session: Session): Promise<Answer[]> {
    const answers = await Promise.all(
      Array.from({ length: CONCURRENT }, (_, index) =>
        refresh(replicas[index % replicas.length] ?? "", client, session.refreshToken),
      ),
    );
    const good = answers.find(({ status }) => status === 200);
    if (good !== undefined)
      Object.assign(session, {
        refreshToken: (good as { body: { refresh_token: string } }).body.refresh_token,
        accessToken: (good as { body: { access_token: string } }).body.access_token,
      });
    return answers as Answer[];
  }

  test(`${ROUNDS} rounds, in the middle of which one provider is away`, async (t) => {
    const sessions = await Promise.all(
      Array.from({ length: SESSIONS }).flatMap(() => [signIn("staff"), signIn("partners")]),
    );
    const counted = new Map<string, number>();
    const count = (what: string) => counted.set(what, (counted.get(what) ?? 0) + 1);
    for (let round = 0; round < ROUNDS; round++) {
      const isAway = round >= ROUNDS / 3 && round < (2 * ROUNDS) / 3;
      upstream.partners.fault = isAway ? "reset" : undefined;
      testServer.clock.ahead += UPSTREAM_SECONDS;
      const [newcomer] = await Promise.all([
        signIn("staff"),
        ...sessions.map(async (session) => {
          for (const { status, body } of await refreshed(session)) {
            const { error = "" } = body as { error?: string };
            count(`${session.provider}${isAway ? ", away" : ""}: ${status} ${error}`.trim());
            assert.notEqual(error, "invalid_grant", `${session.provider}, round ${round}`);
            if (session.provider === "staff" || !isAway) assert.equal(status, 200, JSON.stringify(body));
          }
        }),
      ]);
      sessions.push(newcomer);
    }
    upstream.partners.fault = undefined;
    testServer.clock.ahead += UPSTREAM_SECONDS;
    for (const session of sessions) {
      const answers = await refreshed(session);
      assert.ok(
        answers.every(({ status }) => status === 200),
        `a session of ${session.provider} is lost`,
      );
      const { body } = await callTool(testServer.url, session.accessToken, "whoami");
      const issuer =
        session.provider === "staff" ? testServer.identityProvider.issuer : testServer.partners.issuer;
      assert.equal(body.result.structuredContent.issuer, issuer);
    }
    t.diagnostic(JSON.stringify(Object.fromEntries(counted)));
    assert.ok((counted.get("partners, away: 503 temporarily_unavailable") ?? 0) > 0, "it was away");
    // At the one that was away, requests that did not get through were repeated.
    const spent = upstream.staff.seen.flatMap(({ refreshToken }) => refreshToken ?? []);
    assert.equal(new Set(spent).size, spent.length, "no refresh token of the provider is spent twice");
    // Nothing of one goes to the other.
    const ofStaff = new Set(spent);
    assert.ok(upstream.partners.seen.every(({ refreshToken }) => !ofStaff.has(refreshToken ?? "")));
  });
});
