/**
 * The whole flow with each provider: with the settings that its guide in docs/providers recommends, against the embedded
 * provider with that provider's behaviour.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { DemoUser } from "../../dev/identity-provider/identity-provider.ts";
import { AUTH0, GOOGLE, KEYCLOAK } from "../../dev/identity-provider/provider-profiles.ts";
import { eventually } from "../support/eventually.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import { isLong } from "../support/long.ts";
import {
  authorize,
  callTool,
  getJson,
  newBrowser,
  postForm,
  REDIRECT_URI,
  type Registered,
  redeem,
  refresh,
  register,
  revoke,
  signInForTokens,
  type Tokens,
} from "../support/oauth-client.ts";
import { ALICE, BOB, startTestServer, type TestServer, useTestServer } from "../support/test-server.ts";
import { asAuth0, cases, guideSettings } from "./cases.ts";

const BACKEND = { client_id: "backend", client_secret: "the-secret-of-another-resource-server-0123456789" };

/**
 * What differs in a variant is how people sign in and what a refresh does; the rest of it is for `npm run test:long`. A provider
 * itself has a name of one word.
 */
const isWhole = (name: string) => isLong || !name.includes(" ");

for (const [name, provider] of Object.entries(cases))
  describe(`a provider like this: ${name}`, () => {
    let upstream: FaultyProxy;
    let client: Registered;
    const testServer = useTestServer(async () => {
      upstream = await startFaultyProxy();
      const alice: DemoUser = { ...ALICE, ...(provider.claims && { claims: provider.claims }) };
      // At Google the organization decides, and bob belongs to it too.
      const bob: DemoUser = provider.distinguishesPeople ? BOB : { ...BOB, claims: provider.claims ?? {} };
      return {
        throughProxy: upstream,
        behaviour: provider.behaviour,
        users: [alice, bob],
        environment: {
          ...provider.settings,
          CLIENTS: JSON.stringify([
            { ...BACKEND, redirect_uris: [REDIRECT_URI], token_endpoint_auth_method: "client_secret_post" },
          ]),
        },
        ...(provider.adjust && { adjust: provider.adjust }),
      };
    });
    before(async () => {
      client = await register(testServer.baseUrl);
    });
    after(() => upstream?.close());

    const isAlive = async (accessToken: string) =>
      (await callTool(testServer.url, accessToken, "whoami")).status === 200;
    const refreshTokenUpstream = async (tokens: Tokens) =>
      (await testServer.grantOf(tokens.access_token))?.upstream?.refreshToken;

    /** To the moment at which the provider's access token is about to end. */
    async function untilRenewalIsDue(tokens: Tokens): Promise<void> {
      const { obtainedAt = 0, expiresAt = 0 } =
        (await testServer.grantOf(tokens.access_token))?.upstream ?? {};
      testServer.clock.ahead += expiresAt - obtainedAt - 40;
    }

    test("sign-in: who it is, and which scopes they have", async () => {
      const tokens = await signInForTokens(testServer.baseUrl, client);
      assert.equal(tokens.scope, "weather:read");
      const me = (await callTool(testServer.url, tokens.access_token, "whoami")).body.result
        .structuredContent;
      assert.deepEqual([me.subject, me.name, me.email], ["alice", "Alice Example", "alice@example.com"]);
    });

    test("call: a tool that needs a scope, for who has it and for who has not", async () => {
      const weatherFor = async (login: string) => {
        const { access_token } = await signInForTokens(testServer.baseUrl, client, { login });
        return (await callTool(testServer.url, access_token, "current_weather", { city: "Berlin" })).status;
      };
      assert.equal(await weatherFor("alice"), 200);
      assert.equal(await weatherFor("bob"), provider.distinguishesPeople ? 403 : 200);
    });

    if (provider.refreshToken === "none")
      test("refresh: there is nothing to renew with, and the session ends with the access token", async () => {
        const tokens = await signInForTokens(testServer.baseUrl, client);
        assert.equal(await refreshTokenUpstream(tokens), undefined);
        await untilRenewalIsDue(tokens);
        const last = await refresh(testServer.baseUrl, client, tokens.refresh_token);
        assert.equal(last.status, 200);
        assert.ok(last.body.expires_in <= 40, `ours lives for ${last.body.expires_in} s more`);
        testServer.clock.ahead += 60;
        assert.equal(await isAlive(last.body.access_token), false);
        const over = await refresh(testServer.baseUrl, client, last.body.refresh_token);
        assert.equal(over.body.error, "invalid_grant");
      });
    else {
      test("refresh: twice, and the scopes stay", async () => {
        let tokens = await signInForTokens(testServer.baseUrl, client);
        for (let round = 0; round < 2; round++) {
          await untilRenewalIsDue(tokens);
          const before = (await testServer.grantOf(tokens.access_token))?.upstream?.accessToken;
          const { status, body } = await refresh(testServer.baseUrl, client, tokens.refresh_token);
          assert.equal(status, 200);
          assert.equal(body.scope, "weather:read");
          assert.notEqual((await testServer.grantOf(body.access_token))?.upstream?.accessToken, before);
          tokens = body;
        }
        const weather = await callTool(testServer.url, tokens.access_token, "current_weather", {
          city: "Berlin",
        });
        assert.equal(weather.status, 200);
      });

      test(`rotation: the provider's refresh token is ${provider.refreshToken}, and spent once by many at once`, async () => {
        const tokens = await signInForTokens(testServer.baseUrl, client);
        const first = await refreshTokenUpstream(tokens);
        assert.ok(first);
        await untilRenewalIsDue(tokens);
        upstream.seen.length = 0;
        const answers = await Promise.all(
          Array.from({ length: 5 }, () => refresh(testServer.baseUrl, client, tokens.refresh_token)),
        );
        assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
        const spent = upstream.seen.filter(({ grantType }) => grantType === "refresh_token");
        assert.deepEqual(
          spent.map(({ refreshToken }) => refreshToken),
          [first],
        );
        const then = await refreshTokenUpstream(answers[0]?.body);
        assert.equal(then === first, provider.refreshToken === "kept");
      });

      if (isWhole(name))
        test("logout: a client that revokes its token takes the provider's along", async () => {
          const tokens = await signInForTokens(testServer.baseUrl, client);
          const refreshToken = (await refreshTokenUpstream(tokens)) ?? "";
          await revoke(testServer.baseUrl, client, tokens.refresh_token);
          assert.equal(await isAlive(tokens.access_token), false);
          const { token_endpoint } = await discovery();
          const again = await postForm(token_endpoint, {
            grant_type: "refresh_token",
            refresh_token: refreshToken,
            client_id: "proxy",
            client_secret: "proxy-secret",
          });
          assert.deepEqual([again.status, again.body.error], [400, "invalid_grant"]);
        });
    }

    const discovery = () =>
      getJson(`${testServer.identityProvider.issuer.replace(/\/$/, "")}/.well-known/openid-configuration`);

    if (provider.backchannelLogout && isWhole(name))
      test("logout: signing out at the provider ends that login session here", async () => {
        testServer.clock.ahead = 0; // the provider's clock, which says when it reported this
        const browser = newBrowser();
        const parameters = await authorize(testServer.baseUrl, client, { browser });
        const tokens: Tokens = (await redeem(testServer.baseUrl, client, parameters.get("code"))).body;
        const elsewhere = await signInForTokens(testServer.baseUrl, client);
        const page = await browser.get((await discovery()).end_session_endpoint);
        await browser.submit(page, { logout: "yes" });
        await eventually("the end of that session", async () => !(await isAlive(tokens.access_token)));
        assert.equal(await isAlive(elsewhere.access_token), true);
      });

    if (isWhole(name))
      test("introspection: another resource server learns who it is and what they may", async () => {
        const tokens = await signInForTokens(testServer.baseUrl, client);
        const { body } = await postForm(`${testServer.baseUrl}/introspect`, {
          ...BACKEND,
          token: tokens.access_token,
        });
        assert.deepEqual([body.active, body.sub, body.scope], [true, "alice", "weather:read"]);
      });
  });

describe("mistakes that the guides name", () => {
  async function withTestServer(
    options: Parameters<typeof startTestServer>[0],
    story: (testServer: TestServer) => Promise<void>,
  ) {
    const testServer = await startTestServer(options);
    try {
      await story(testServer);
    } finally {
      await testServer.close();
    }
  }

  test("Auth0 without an audience: the access token is opaque, and nobody has a scope", () =>
    withTestServer(
      { behaviour: AUTH0, adjust: asAuth0, environment: { OIDC_AUDIENCE: "" } },
      async ({ baseUrl, url, grantOf }) => {
        const tokens = await signInForTokens(baseUrl, await register(baseUrl));
        assert.equal(tokens.scope ?? "", "");
        assert.notEqual((await grantOf(tokens.access_token))?.upstream?.accessToken.split(".").length, 3);
        const weather = await callTool(url, tokens.access_token, "current_weather", { city: "Berlin" });
        assert.match(weather.headers.get("www-authenticate") ?? "", /insufficient_scope/);
      },
    ));

  test("Auth0 with the identifier of no API: a page says so, and the log has Auth0's words", () =>
    withTestServer(
      {
        behaviour: AUTH0,
        adjust: asAuth0,
        environment: { OIDC_AUDIENCE: "https://weather.example.com/" },
      },
      async ({ baseUrl, log }) => {
        await assert.rejects(authorize(baseUrl, await register(baseUrl)), /Signing in failed/);
        assert.ok(log.some((line) => JSON.stringify(line).includes("Service not found")));
      },
    ));

  test("Keycloak with an audience that no mapper adds: the log says invalid_access_token", () =>
    withTestServer(
      { behaviour: KEYCLOAK, environment: { OIDC_AUDIENCE: "https://weather.example.com/" } },
      async ({ baseUrl, log }) => {
        await assert.rejects(authorize(baseUrl, await register(baseUrl)), /Signing in failed/);
        assert.ok(log.some((line) => JSON.stringify(line).includes("invalid_access_token")));
      },
    ));

  test("Google without its parameters: no refresh token", () =>
    withTestServer(
      { behaviour: GOOGLE, environment: { OIDC_AUDIENCE: "", SCOPES_FROM: "consent" } },
      async ({ baseUrl, grantOf }) => {
        const tokens = await signInForTokens(baseUrl, await register(baseUrl));
        assert.equal((await grantOf(tokens.access_token))?.upstream?.refreshToken, undefined);
      },
    ));

  test("Google with somebody of another Workspace: wrong_organization", () =>
    withTestServer(
      {
        behaviour: GOOGLE,
        users: [{ ...ALICE, claims: { hd: "example.org" } }],
        environment: guideSettings("google"),
      },
      async ({ baseUrl, log }) => {
        const answer = await authorize(baseUrl, await register(baseUrl)).catch((error: Error) => error);
        assert.ok(answer instanceof Error || answer.get("error") === "access_denied");
        assert.ok(log.some(({ reason }) => reason === "wrong_organization"));
      },
    ));
});
