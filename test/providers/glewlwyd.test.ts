/** A provider that shares no code with anything here: glewlwyd, in C. The whole way, against the real program. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";

import { lineOf, look, NOTHING_WORKS } from "../doctor/support.ts";
import { eventually } from "../support/eventually.ts";

import {
  type Glewlwyd,
  type GlewlwydUser,
  glewlwydPerson,
  skipWithoutGlewlwyd,
  startGlewlwyd,
} from "../support/glewlwyd.ts";
import { isLong } from "../support/long.ts";
import {
  authorizeUrl,
  callTool,
  newBrowser,
  postForm,
  REDIRECT_URI,
  type Registered,
  redeem,
  refresh,
  register,
  revoke,
  type Tokens,
  toolNames,
} from "../support/oauth-client.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";

const ALICE: GlewlwydUser = {
  username: "alice",
  password: "alice-password",
  name: "Alice Example",
  email: "alice@example.com",
  scopes: ["weather:read"],
};
const BOB: GlewlwydUser = { ...ALICE, username: "bob", password: "bob-password", name: "Bob", scopes: [] };
const CAROL: GlewlwydUser = { ...ALICE, username: "carol", password: "carol-password", name: "Carol" };
const BACKEND_SECRET = "the-secret-of-another-resource-server-0123456789";

const ONE_USE = isLong ? (["always", "never"] as const) : (["always"] as const);

for (const refreshTokenOneUse of ONE_USE)
  describe(`glewlwyd, refresh tokens for one use: ${refreshTokenOneUse}`, {
    skip: skipWithoutGlewlwyd(),
  }, () => {
    let provider: Glewlwyd;
    let client: Registered;
    const testServer = useTestServer(async () => {
      provider = await startGlewlwyd({
        users: [ALICE, BOB, CAROL],
        scopes: ["weather:read"],
        refreshTokenOneUse,
        accessTokenSeconds: 3_600,
      });
      return {
        issuer: provider.issuer,
        environment: {
          OIDC_AUDIENCE: "",
          OIDC_LOGOUT_TOKEN_EXP: "optional",
          CLIENTS: JSON.stringify([
            { client_id: "backend", client_secret: BACKEND_SECRET, redirect_uris: [REDIRECT_URI] },
          ]),
        },
      };
    });
    // The provider's clock, by which its tokens are good.
    beforeEach(() => {
      testServer.clock.ahead = 0;
    });
    before(async () => {
      await provider.addClient({
        id: "proxy",
        secret: "proxy-secret",
        redirectUri: `${testServer.baseUrl}/auth/callback`,
        backchannelLogoutUri: `${testServer.baseUrl}/auth/backchannel-logout`,
      });
      client = await register(testServer.baseUrl);
    });
    after(() => provider?.close());

    async function signIn(user: GlewlwydUser, person = glewlwydPerson(provider, user)): Promise<Tokens> {
      const browser = newBrowser();
      const consent = await browser.get(authorizeUrl(testServer.baseUrl, client));
      const loginPage = await browser.submit(consent, {}, { button: "approve" });
      const finished = await person.signIn(browser, loginPage);
      const code = finished.redirectedTo?.searchParams.get("code") ?? null;
      assert.ok(code, `no code at ${finished.url.pathname} (${finished.status})`);
      return (await redeem(testServer.baseUrl, client, code)).body;
    }

    const isAlive = async (accessToken: string) =>
      (await callTool(testServer.url, accessToken, "whoami")).status === 200;

    const refreshTokenAtProvider = async (tokens: Tokens) =>
      (await testServer.grantOf(tokens.access_token))?.upstream?.refreshToken ?? "";

    /** As the administrator's own scripts would, with the client's credentials. */
    const askProvider = (endpoint: "introspect" | "revoke", token: string) =>
      postForm(`${provider.issuer}/${endpoint}`, {
        token,
        token_type_hint: "refresh_token",
        client_id: "proxy",
        client_secret: "proxy-secret",
      });
    const isActiveAtProvider = async (token: string) => (await askProvider("introspect", token)).body.active;

    test("signs in and calls a tool: the name, the address and the scope are the provider's", async () => {
      const tokens = await signIn(ALICE);
      assert.equal(tokens.scope, "weather:read");
      const me = (await callTool(testServer.url, tokens.access_token, "whoami")).body.result
        .structuredContent;
      assert.deepEqual(
        [me.name, me.email, me.scopes],
        ["Alice Example", "alice@example.com", ["weather:read"]],
      );
      const weather = await callTool(testServer.url, tokens.access_token, "current_weather", {
        city: "Berlin",
      });
      assert.equal(weather.status, 200);
    });

    test("who may not have a scope there does not get it here", async () => {
      const tokens = await signIn(BOB);
      assert.equal(tokens.scope ?? "", "");
      assert.equal((await toolNames(testServer.url, tokens.access_token)).includes("current_weather"), false);
      const weather = await callTool(testServer.url, tokens.access_token, "current_weather", {
        city: "Berlin",
      });
      assert.equal(weather.status, 403);
    });

    test("a scope that was taken away there stays until the next sign-in: its refreshes repeat what was granted", async () => {
      const tokens = await signIn(CAROL);
      await provider.changeUser("carol", { scopes: [] });
      testServer.clock.ahead += 3_500;
      const refreshed = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.equal(refreshed.body.scope, "weather:read");
      assert.equal((await signIn({ ...CAROL, scopes: [] })).scope ?? "", "");
    });

    test("refreshes, twice; and the provider's refresh token is a new one only if it rotates", async () => {
      const tokens = await signIn(ALICE);
      const first = await refreshTokenAtProvider(tokens);
      testServer.clock.ahead += 3_500;
      const second = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.equal(second.status, 200);
      assert.equal(second.body.scope, "weather:read");
      const kept = await refreshTokenAtProvider(second.body);
      assert.equal(kept === first, refreshTokenOneUse === "never");
      testServer.clock.ahead += 3_500;
      const third = await refresh(testServer.baseUrl, client, second.body.refresh_token);
      assert.equal(third.status, 200);
      assert.ok(await isAlive(third.body.access_token));
    });

    test("of many refreshes at once the provider sees one", async () => {
      const tokens = await signIn(ALICE);
      testServer.clock.ahead += 3_500;
      const answers = await Promise.all(
        Array.from({ length: 10 }, () => refresh(testServer.baseUrl, client, tokens.refresh_token)),
      );
      assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
      assert.equal(await isActiveAtProvider(await refreshTokenAtProvider(answers[0]?.body)), true);
    });

    test("a client that signs out takes the provider's refresh token along", async () => {
      const tokens = await signIn(ALICE);
      const upstream = await refreshTokenAtProvider(tokens);
      assert.equal(await isActiveAtProvider(upstream), true);
      assert.equal((await revoke(testServer.baseUrl, client, tokens.refresh_token)).status, 200);
      assert.equal(await isAlive(tokens.access_token), false);
      assert.equal(await isActiveAtProvider(upstream), false);
    });

    test("a refresh token that was revoked there ends the session here, and only that one", async () => {
      const tokens = await signIn(ALICE);
      const other = await signIn(ALICE);
      const { status } = await askProvider("revoke", await refreshTokenAtProvider(tokens));
      assert.equal(status, 200);
      testServer.clock.ahead += 3_500;
      const refused = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.deepEqual([refused.status, refused.body.error], [400, "invalid_grant"]);
      assert.equal((await refresh(testServer.baseUrl, client, other.refresh_token)).status, 200);
    });

    test("signing out there ends that login session here, by back-channel logout", async () => {
      const person = glewlwydPerson(provider, ALICE);
      const tokens = await signIn(ALICE, person);
      const elsewhere = await signIn(ALICE);
      await person.signOut();
      await eventually("it is over here, too", async () => !(await isAlive(tokens.access_token)));
      assert.equal(await isAlive(elsewhere.access_token), true);
      assert.ok(testServer.log.some(({ reason }) => reason === "backchannel_logout"));
    });

    test("a wrong secret is the operator's to repair, and no user's session ends for it", async () => {
      const misconfigured = await startTestServer({
        issuer: provider.issuer,
        environment: { OIDC_AUDIENCE: "", OIDC_CLIENT_ID: "misconfigured", OIDC_CLIENT_SECRET: "wrong" },
      });
      try {
        await provider.addClient({
          id: "misconfigured",
          secret: "right",
          redirectUri: `${misconfigured.baseUrl}/auth/callback`,
          backchannelLogoutUri: `${misconfigured.baseUrl}/auth/backchannel-logout`,
        });
        const browser = newBrowser();
        const url = authorizeUrl(misconfigured.baseUrl, await register(misconfigured.baseUrl));
        const loginPage = await browser.submit(await browser.get(url), {}, { button: "approve" });
        const finished = await glewlwydPerson(provider, ALICE).signIn(browser, loginPage);
        assert.equal(finished.status, 503);
        assert.ok(misconfigured.log.some(({ reason }) => reason === "client_credentials_rejected"));
      } finally {
        await misconfigured.close();
      }
    });

    test("/logout goes on to the provider's own", async () => {
      const browser = newBrowser();
      const question = await browser.get(`${testServer.baseUrl}/logout`);
      const there = await browser.submit(question, {}, { button: "Sign out" });
      assert.equal(there.url.origin, new URL(provider.issuer).origin);
    });

    test("introspection tells another resource server who it is and what they may", async () => {
      const tokens = await signIn(ALICE);
      const { body } = await postForm(
        `${testServer.baseUrl}/introspect`,
        { token: tokens.access_token },
        { authorization: `Basic ${btoa(`backend:${BACKEND_SECRET}`)}` },
      );
      assert.deepEqual([body.active, body.scope, body.aud], [true, "weather:read", testServer.url]);
    });

    test("with the guide's settings the doctor has nothing to warn of; a wrong secret or id is one finding", async () => {
      const settings = { ...NOTHING_WORKS, BASE_URL: testServer.baseUrl, OIDC_ISSUER: provider.issuer };
      const notOk = async (more: Record<string, string>) =>
        (await look({ ...settings, OIDC_CLIENT_SECRET: "proxy-secret", ...more })).findings
          .filter(({ check, status }) => check.startsWith("provider.") && status !== "ok")
          .map(lineOf);
      assert.deepEqual(await notOk({}), []);
      const [wrongSecret, ...others] = await notOk({ OIDC_CLIENT_SECRET: "another-secret" });
      assert.match(
        wrongSecret ?? "",
        /^✗ .*unauthorized_client.*; the client id proxy and the callback URL are known/,
      );
      const [wrongId, ...further] = await notOk({ OIDC_CLIENT_ID: "prxoy" });
      assert.match(wrongId ?? "", /^✗ .*; the client id prxoy is refused at sign-in as well/);
      assert.deepEqual([...others, ...further], []);
    });
  });
