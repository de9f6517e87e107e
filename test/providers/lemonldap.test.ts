/** A second provider that shares no code with anything here: LemonLDAP::NG, in Perl, by its own login form. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { lineOf, look, NOTHING_WORKS } from "../doctor/support.ts";
import { settingsOf } from "../support/guide.ts";
import {
  DOCTOR_WHO,
  type Lemonldap,
  prepareLemonldap,
  ROSE_TYLER,
  signInAtLemonldap,
  skipWithoutLemonldap,
} from "../support/lemonldap.ts";
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
} from "../support/oauth-client.ts";
import { type TestServer, useTestServer } from "../support/test-server.ts";

const BACKEND = { client_id: "backend", client_secret: "the-secret-of-another-resource-server-0123456789" };

describe("LemonLDAP::NG", { skip: skipWithoutLemonldap() }, () => {
  let provider: Lemonldap;
  let client: Registered;
  const environment = {
    OIDC_AUDIENCE: "",
    OIDC_SCOPES: settingsOf("lemonldap")[0]?.OIDC_SCOPES ?? "",
    CLIENTS: JSON.stringify([
      { ...BACKEND, redirect_uris: [REDIRECT_URI], token_endpoint_auth_method: "client_secret_post" },
    ]),
  };
  const testServer = useTestServer(async () => {
    provider = await prepareLemonldap();
    return { issuer: provider.issuer, environment };
  });
  const serverWithoutSlash = useTestServer(() => ({
    issuer: provider.issuer.replace(/\/$/, ""),
    environment,
  }));
  before(async () => {
    await provider.start({
      id: "proxy",
      secret: "proxy-secret",
      redirectUri: `${testServer.baseUrl}/auth/callback ${serverWithoutSlash.baseUrl}/auth/callback`,
      scopes: { "weather:read": `$uid eq "${DOCTOR_WHO}"` },
    });
    client = await register(testServer.baseUrl);
  });
  after(() => provider?.close());

  async function signIn(user: string, { baseUrl } = testServer, as = client): Promise<Tokens> {
    const browser = newBrowser();
    const consent = await browser.get(authorizeUrl(baseUrl, as));
    const loginPage = await browser.submit(consent, {}, { button: "approve" });
    const { redirectedTo, url, status } = await signInAtLemonldap(browser, loginPage, user);
    const code = redirectedTo?.searchParams.get("code") ?? null;
    assert.ok(code, `no code at ${url.pathname} (${status})`);
    return (await redeem(baseUrl, as, code)).body;
  }

  const weather = async (tokens: Tokens) =>
    (await callTool(testServer.url, tokens.access_token, "current_weather", { city: "Berlin" })).status;
  const refreshTokenUpstream = async (tokens: Tokens) =>
    (await testServer.grantOf(tokens.access_token))?.upstream?.refreshToken;

  test("signs in and calls: the scope is in the access token, the name and the address only userinfo knows", async () => {
    const tokens = await signIn(DOCTOR_WHO);
    assert.equal(tokens.scope, "weather:read");
    const me = (await callTool(testServer.url, tokens.access_token, "whoami")).body.result.structuredContent;
    assert.deepEqual([me.subject, me.name, me.email], [DOCTOR_WHO, "Doctor Who", "dwho@badwolf.org"]);
    assert.equal(await weather(tokens), 200);
  });

  test("whom its rule does not give the scope does not have it here", async () => {
    assert.equal(await weather(await signIn(ROSE_TYLER)), 403);
  });

  test("refreshes, ten at once; the provider's refresh token stays the same", async () => {
    const tokens = await signIn(DOCTOR_WHO);
    const first = await refreshTokenUpstream(tokens);
    assert.ok(first);
    testServer.clock.ahead += 3_500;
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => refresh(testServer.baseUrl, client, tokens.refresh_token)),
    );
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
    const [renewed] = answers;
    assert.equal(renewed?.body.scope, "weather:read");
    assert.equal(await refreshTokenUpstream(renewed?.body), first);
    const me = (await callTool(testServer.url, renewed?.body.access_token, "whoami")).body.result
      .structuredContent;
    assert.equal(me.name, "Doctor Who", "what only userinfo knew is not lost to a renewal");
    assert.equal(await weather(renewed?.body), 200);
  });

  test("a client that signs out is out, although this provider revokes nothing", async () => {
    const tokens = await signIn(DOCTOR_WHO);
    assert.equal((await revoke(testServer.baseUrl, client, tokens.refresh_token)).status, 200);
    assert.equal(await weather(tokens), 401);
    assert.equal(
      (await refresh(testServer.baseUrl, client, tokens.refresh_token)).body.error,
      "invalid_grant",
    );
  });

  test("/logout goes on to the provider's own", async () => {
    const browser = newBrowser();
    const question = await browser.get(`${testServer.baseUrl}/logout`);
    const there = await browser.submit(question, {}, { button: "Sign out" });
    assert.equal(there.url.origin, new URL(provider.issuer).origin);
  });

  test("introspection tells another resource server who it is and what they may", async () => {
    const tokens = await signIn(DOCTOR_WHO);
    const { body } = await postForm(`${testServer.baseUrl}/introspect`, {
      ...BACKEND,
      token: tokens.access_token,
    });
    assert.deepEqual([body.active, body.sub, body.scope], [true, DOCTOR_WHO, "weather:read"]);
  });

  test("of its bare host the issuer may lack the slash at its end: people sign in, and the doctor says what it is", async () => {
    const other = await register(serverWithoutSlash.baseUrl);
    assert.equal((await signIn(DOCTOR_WHO, serverWithoutSlash, other)).scope, "weather:read");
    const { line } = await doctorOn(serverWithoutSlash);
    assert.match(line("provider.issuer"), /^! .*sign-ins work → Set OIDC_ISSUER=http:\/\/localhost:\d+\/$/);
  });

  test("with the guide's settings the doctor warns of nothing, although scopes and refresh tokens are not listed", async () => {
    const { findings, line } = await doctorOn(testServer);
    assert.deepEqual(
      findings.filter(({ check, status }) => check.startsWith("provider.") && status !== "ok").map(lineOf),
      [line("provider.redirect_uri")],
    );
    assert.match(line("provider.redirect_uri"), /^! Could not tell .*"Authentication portal"/);
    assert.match(line("provider.refresh"), /^✓/);
  });

  const doctorOn = ({ baseUrl, config }: TestServer) =>
    look({
      ...{ ...NOTHING_WORKS, BASE_URL: baseUrl, OIDC_ISSUER: config.identityProviders[0].issuer },
      ...{ OIDC_CLIENT_SECRET: "proxy-secret", OIDC_SCOPES: environment.OIDC_SCOPES },
    });
});
