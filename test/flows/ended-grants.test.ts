/**
 * A grant that is ended on purpose is also revoked at the provider. A grant that ends otherwise is not: with one token some
 * providers revoke all that a user has here.
 */
import assert from "node:assert/strict";
import { after, beforeEach, describe, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import { held } from "../support/held.ts";
import {
  authorize,
  authorizeUrl,
  callTool,
  getJson,
  newBrowser,
  type Registered,
  redeem,
  refresh,
  register,
  revoke,
  signInForTokens,
} from "../support/oauth-client.ts";
import { signIn } from "../support/sign-in.ts";
import { useTestServer } from "../support/test-server.ts";

describe("a grant that ended", () => {
  let upstream: FaultyProxy;
  let client: Registered;
  const testServer = useTestServer(async () => {
    upstream = await startFaultyProxy();
    return {
      throughProxy: upstream,
      // Shorter than our own tokens, so that every refresh has to ask the provider.
      behaviour: { accessTokenSeconds: 300 },
      environment: {
        MAX_GRANTS_PER_USER_AND_CLIENT: "2",
        REFRESH_GRACE_SECONDS: "1",
        UPSTREAM_TIMEOUT_SECONDS: "60", // who waited for a provider that hangs would wait as long
      },
    };
  });
  beforeEach(async () => {
    upstream.seen.length = 0;
    testServer.log.length = 0;
    client = await register(testServer.baseUrl);
  });
  after(() => upstream.close());

  const revocations = () => upstream.seen.filter(({ path }) => path.endsWith("/revocation")).length;
  async function untilRevoked(count: number): Promise<void> {
    await eventually(`${count} are revoked`, () => revocations() >= count);
    assert.equal(revocations(), count);
  }

  /** One that is sent afterwards has arrived, and it is the only one. */
  async function neverRevoked(): Promise<void> {
    await eventually("a grant has ended", () => testServer.log.some(({ audit }) => audit === "grant_ended"));
    const other = await register(testServer.baseUrl);
    const { access_token } = await signInForTokens(testServer.baseUrl, other, { login: "bob" });
    await revoke(testServer.baseUrl, other, access_token);
    await untilRevoked(1);
  }

  test("because its client revoked it: the provider is told", async () => {
    const { access_token } = await signInForTokens(testServer.baseUrl, client);
    await revoke(testServer.baseUrl, client, access_token);
    await untilRevoked(1);
  });

  test("by a code that came twice: the provider is not told", async () => {
    const code = (await authorize(testServer.baseUrl, client)).get("code");
    await redeem(testServer.baseUrl, client, code);
    assert.equal((await redeem(testServer.baseUrl, client, code)).status, 400);
    await neverRevoked();
  });

  test("by a refresh token that was used again: the provider is not told", async () => {
    const { refresh_token } = await signInForTokens(testServer.baseUrl, client);
    await refresh(testServer.baseUrl, client, refresh_token);
    testServer.clock.ahead += 2;
    assert.equal((await refresh(testServer.baseUrl, client, refresh_token)).status, 400);
    await neverRevoked();
  });

  test("with its client's registration: the provider is told", async () => {
    await signInForTokens(testServer.baseUrl, client);
    await signInForTokens(testServer.baseUrl, client, { login: "bob" });
    const removed = await fetch(String(client.registration_client_uri), {
      method: "DELETE",
      headers: { authorization: `Bearer ${client.registration_access_token}` },
    });
    assert.equal(removed.status, 204);
    await untilRevoked(2);
  });

  test("because its user has too many: the provider is not told", async () => {
    for (let i = 0; i < 3; i++) await signInForTokens(testServer.baseUrl, client);
    await neverRevoked();
  });

  test("because the user signed out at the provider: the provider is not told", async () => {
    const browser = newBrowser();
    const callback = await signIn(browser, authorizeUrl(testServer.baseUrl, client));
    await redeem(testServer.baseUrl, client, callback.searchParams.get("code"));
    const { end_session_endpoint } = await getJson(
      `${testServer.identityProvider.issuer}/.well-known/openid-configuration`,
    );
    await browser.submit(await browser.get(end_session_endpoint), { logout: "yes" });
    await neverRevoked();
  });

  test("while the provider hangs at the revocations of many: who revokes one more does not wait for them", {
    timeout: 30_000,
  }, async () => {
    upstream.hangsAtRevocation = true;
    const logins = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
    for (const login of logins) await signInForTokens(testServer.baseUrl, client, { login });
    const other = await register(testServer.baseUrl);
    const { access_token } = await signInForTokens(testServer.baseUrl, other);
    const removed = await fetch(String(client.registration_client_uri), {
      method: "DELETE",
      headers: { authorization: `Bearer ${client.registration_access_token}` },
    });
    assert.equal(removed.status, 204);
    assert.equal((await revoke(testServer.baseUrl, other, access_token)).status, 200);
    assert.equal((await callTool(testServer.url, access_token, "whoami")).status, 401);
    upstream.hangsAtRevocation = false;
    upstream.dropUnanswered();
  });

  test("just when its renewal was stored: the provider is told of the token that it gave last", async (t) => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const spent = await testServer.grantOf(tokens.access_token);
    testServer.clock.ahead += 200;
    const { deleteIf } = testServer.records;
    const removal = held();
    const removing = t.mock.method(testServer.records, "deleteIf", async (key: string, expected: string) => {
      if (!key.startsWith("grant:")) return await deleteIf(key, expected);
      removing.mock.restore();
      await removal.wait();
      return await deleteIf(key, expected);
    });
    const revoking = revoke(testServer.baseUrl, client, tokens.access_token);
    await removal.reached();
    const { body } = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    const kept = await testServer.grantOf(body.access_token);
    removal.letGo();
    await revoking;
    const isTold = (grant: typeof kept) =>
      upstream.seen.some(
        ({ path, text }) =>
          path.endsWith("/revocation") && text?.includes(`token=${grant?.upstream?.refreshToken}`),
      );
    await eventually("the provider is told", () => isTold(kept));
    assert.ok(!isTold(spent), "and not of the one that was spent");
  });
});

describe("a grant that ends while a refresh looks up its client", () => {
  const testServer = useTestServer();

  test("gives nothing any more, not even the answer that was given before", async (t) => {
    const client = await register(testServer.baseUrl);
    const tokens = await signInForTokens(testServer.baseUrl, client);
    const next = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    const { get } = testServer.records;
    const lookUp = held();
    const reading = t.mock.method(testServer.records, "get", async (key: string) => {
      const found = await get(key);
      if (!key.startsWith("client:")) return found;
      reading.mock.restore();
      await lookUp.wait();
      return found;
    });
    const repeated = refresh(testServer.baseUrl, client, tokens.refresh_token);
    await lookUp.reached();
    await revoke(testServer.baseUrl, client, next.body.refresh_token);
    lookUp.letGo();
    const { status, body } = await repeated;
    assert.deepEqual([status, body.error], [400, "invalid_grant"]);
    const audited = testServer.log.filter(({ audit }) => audit !== undefined);
    assert.equal(audited.at(-1)?.audit, "grant_ended", "nothing is allowed after the end");
  });
});
