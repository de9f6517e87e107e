/** However a grant ends, the provider is told to forget the refresh token that it gave for it. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { signIn } from "../support/browser.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import {
  authorize,
  authorizeUrl,
  getJson,
  newBrowser,
  type Registered,
  redeem,
  refresh,
  register,
  revoke,
  signInForTokens,
} from "../support/oauth-client.ts";
import { type Stage, startStage } from "../support/stage.ts";

describe("a grant that ended", () => {
  let stage: Stage;
  let upstream: FaultyProxy;
  let client: Registered;
  before(async () => {
    upstream = await startFaultyProxy();
    stage = await startStage({
      throughProxy: upstream,
      // Shorter than our own tokens, so that every refresh has to ask the provider.
      character: { accessTokenSeconds: 300 },
      environment: { MAX_GRANTS_PER_USER_AND_CLIENT: "2", REFRESH_GRACE_SECONDS: "1" },
    });
  });
  beforeEach(async () => {
    upstream.seen.length = 0;
    client = await register(stage.baseUrl);
  });
  after(async () => {
    await stage.close();
    await upstream.close();
  });

  const revocations = () => upstream.seen.filter(({ path }) => path.endsWith("/revocation")).length;
  async function untilRevoked(count: number): Promise<void> {
    for (let attempt = 0; attempt < 500 && revocations() < count; attempt++) await delay(20);
    assert.equal(revocations(), count);
  }

  test("by a code that came twice", async () => {
    const code = (await authorize(stage.baseUrl, client)).get("code");
    await redeem(stage.baseUrl, client, code);
    assert.equal((await redeem(stage.baseUrl, client, code)).status, 400);
    await untilRevoked(1);
  });

  test("by a refresh token that was used again", async () => {
    const { refresh_token } = await signInForTokens(stage.baseUrl, client);
    await refresh(stage.baseUrl, client, refresh_token);
    stage.clock.ahead += 2;
    assert.equal((await refresh(stage.baseUrl, client, refresh_token)).status, 400);
    await untilRevoked(1);
  });

  test("with its client's registration", async () => {
    await signInForTokens(stage.baseUrl, client);
    await signInForTokens(stage.baseUrl, client, { login: "bob" });
    const removed = await fetch(String(client.registration_client_uri), {
      method: "DELETE",
      headers: { authorization: `Bearer ${client.registration_access_token}` },
    });
    assert.equal(removed.status, 204);
    await untilRevoked(2);
  });

  test("because its user has too many", async () => {
    for (let i = 0; i < 3; i++) await signInForTokens(stage.baseUrl, client);
    await untilRevoked(1);
  });

  test("because the user signed out at the provider", async () => {
    const browser = newBrowser();
    const callback = await signIn(browser, authorizeUrl(stage.baseUrl, client));
    await redeem(stage.baseUrl, client, callback.searchParams.get("code"));
    const { end_session_endpoint } = await getJson(
      `${stage.identityProvider.issuer}/.well-known/openid-configuration`,
    );
    await browser.submit(await browser.get(end_session_endpoint), { logout: "yes" });
    await untilRevoked(1);
  });

  test("while its tokens were being renewed: what came back is revoked as well", async () => {
    const tokens = await signInForTokens(stage.baseUrl, client);
    stage.clock.ahead += 200; // past half the life of the upstream token
    upstream.rewrite = async (renewed) => {
      assert.equal((await revoke(stage.baseUrl, client, tokens.access_token)).status, 200);
      return renewed;
    };
    assert.equal((await refresh(stage.baseUrl, client, tokens.refresh_token)).status, 400);
    upstream.rewrite = undefined;
    await untilRevoked(2);
  });
});
