import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, describe, test } from "node:test";
import { createRemoteJWKSet, type JWTPayload, jwtVerify } from "jose";
import * as oidc from "openid-client";
import { Browser, type Page } from "../../dev/client/browser.ts";
import {
  type IdentityProviderOptions,
  type ProviderBehaviour,
  type RunningIdentityProvider,
  startIdentityProvider,
} from "../../dev/identity-provider/identity-provider.ts";
import { signIn } from "../support/sign-in.ts";

const redirectUri = "http://localhost:9/auth/callback";
const audience = "https://weather.example/api";
const everything = "openid profile email offline_access weather:read weather:write";
const client = { id: "the-proxy", secret: "se:cret%+", redirectUris: [redirectUri] };

const running: RunningIdentityProvider[] = [];
after(() => Promise.all(running.map((provider) => provider.close())));

async function start(behaviour: ProviderBehaviour = {}, more: Partial<IdentityProviderOptions> = {}) {
  const provider = await startIdentityProvider({
    port: 0,
    client,
    audience,
    scopes: ["weather:read", "weather:write"],
    users: [
      {
        subject: "alice",
        name: "Alice <Admin>",
        email: "alice@example.com",
        permissions: ["weather:read", "weather:write"],
        claims: { "https://weather.example/role": "admin" },
      },
      { subject: "bob", name: "Bob", email: "bob@example.com", permissions: ["weather:read"] },
    ],
    behaviour,
    ...more,
  });
  running.push(provider);
  return provider;
}

function discover(issuer: string, auth?: oidc.ClientAuth): Promise<oidc.Configuration> {
  return oidc.discovery(new URL(issuer), client.id, client.secret, auth, {
    execute: [oidc.allowInsecureRequests],
  });
}

function newBrowser(): Browser {
  return new Browser({ stopAt: (url) => url.href.startsWith(redirectUri) });
}

interface SignIn {
  login?: string;
  browser?: Browser;
  parameters?: Record<string, string>;
}

/** The confidential client's whole way: authorization request, login in the browser, code for tokens. */
async function authorize(config: oidc.Configuration, how: SignIn = {}) {
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier();
  const expectedState = oidc.randomState();
  const expectedNonce = oidc.randomNonce();
  const url = oidc.buildAuthorizationUrl(config, {
    redirect_uri: redirectUri,
    scope: everything,
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
    state: expectedState,
    nonce: expectedNonce,
    ...how.parameters,
  });
  const callback = await signIn(how.browser ?? newBrowser(), url, { login: how.login ?? "alice" });
  return oidc.authorizationCodeGrant(config, callback, { pkceCodeVerifier, expectedState, expectedNonce });
}

async function verify(config: oidc.Configuration, jwt: string): Promise<JWTPayload> {
  const { issuer, jwks_uri } = config.serverMetadata();
  const keys = createRemoteJWKSet(new URL(String(jwks_uri)));
  return (await jwtVerify(jwt, keys, { issuer, audience, algorithms: ["RS256"] })).payload;
}

function isError(error: string) {
  return (thrown: unknown) => {
    assert.equal((thrown as { error?: string }).error, error, String(thrown));
    return true;
  };
}

describe("the embedded identity provider, as Auth0 would", async () => {
  const provider = await start();
  const config = await discover(provider.issuer);

  for (const name of ["audience", "resource"]) {
    test(`gives a JWT for the API selected by ${name}`, async () => {
      const tokens = await authorize(config, { parameters: { [name]: audience } });
      const payload = await verify(config, tokens.access_token);
      assert.equal(payload.sub, "alice");
      assert.equal(payload.scope, everything);
      assert.equal(tokens.scope, everything);
      assert.deepEqual(payload.permissions, ["weather:read", "weather:write"]);
      assert.equal(tokens.expires_in, 3600);
    });
  }

  test("gives an opaque token without API scopes when no API was selected", async () => {
    const tokens = await authorize(config);
    assert.equal(tokens.access_token.split(".").length, 1);
    assert.equal(tokens.scope, "openid profile email offline_access");
  });

  test("puts sid, name and the user's own claims into the ID token", async () => {
    for (const parameters of [{ audience }, {}]) {
      const claims = (await authorize(config, { parameters })).claims();
      assert.equal(claims?.name, "Alice <Admin>");
      assert.equal(claims?.email, "alice@example.com");
      assert.equal(claims?.["https://weather.example/role"], "admin");
      assert.equal(typeof claims?.sid, "string");
    }
  });

  test("opens userinfo to the JWT and to the opaque token", async () => {
    for (const parameters of [{ audience }, {}]) {
      const { access_token } = await authorize(config, { parameters });
      const userinfo = await oidc.fetchUserInfo(config, access_token, "alice");
      assert.equal(userinfo.name, "Alice <Admin>");
      assert.equal(userinfo.email, "alice@example.com");
    }
    await assert.rejects(oidc.fetchUserInfo(config, "not.a.token", "alice"));
  });

  test("silently drops the scopes a user has no permission for", async () => {
    const tokens = await authorize(config, { login: "bob", parameters: { audience } });
    const granted = "openid profile email offline_access weather:read";
    const payload = await verify(config, tokens.access_token);
    assert.equal(tokens.scope, granted);
    assert.equal(payload.scope, granted);
    assert.deepEqual(payload.permissions, ["weather:read"]);
  });

  test("lets anybody in, with the permissions of the first listed user", async () => {
    const tokens = await authorize(config, { login: "Zoë Z", parameters: { audience } });
    const payload = await verify(config, tokens.access_token);
    assert.equal(payload.sub, "Zoë Z");
    assert.deepEqual(payload.permissions, ["weather:read", "weather:write"]);
  });

  test("ignores unknown scopes and unknown resources, also in token requests", async () => {
    const parameters = {
      audience,
      scope: "openid nonsense:read weather:read",
      resource: "https://other.example",
    };
    const tokens = await authorize(config, { parameters });
    assert.equal(tokens.scope, "openid weather:read");
    const { refresh_token = "" } = await authorize(config, { parameters: { audience } });
    const refreshed = await oidc.refreshTokenGrant(config, refresh_token, {
      resource: "https://other.example",
    });
    assert.equal((await verify(config, refreshed.access_token)).aud, audience);
  });

  test("refuses an unknown audience", async () => {
    const parameters = { audience: "https://other.example" };
    await assert.rejects(authorize(config, { parameters }), isError("access_denied"));
  });

  test("rotates refresh tokens; a reused one ends its family and no other", async () => {
    const other = await authorize(config, { parameters: { audience } });
    const first = await authorize(config, { parameters: { audience } });
    const second = await oidc.refreshTokenGrant(config, first.refresh_token!);
    assert.notEqual(second.refresh_token, first.refresh_token);
    assert.equal((await verify(config, second.access_token)).scope, everything);
    await assert.rejects(oidc.refreshTokenGrant(config, first.refresh_token!), isError("invalid_grant"));
    await assert.rejects(oidc.refreshTokenGrant(config, second.refresh_token!), isError("invalid_grant"));
    await oidc.refreshTokenGrant(config, other.refresh_token!);
  });

  test("lets one of many racing refreshes win", async () => {
    const { refresh_token = "" } = await authorize(config);
    const race = Array.from({ length: 5 }, () => oidc.refreshTokenGrant(config, refresh_token));
    const won = (await Promise.allSettled(race)).filter(({ status }) => status === "fulfilled");
    assert.equal(won.length, 1);
  });

  test("revokes a refresh token", async () => {
    const { refresh_token = "" } = await authorize(config);
    await oidc.tokenRevocation(config, refresh_token);
    await assert.rejects(oidc.refreshTokenGrant(config, refresh_token), isError("invalid_grant"));
  });

  test("takes the client's secret by post and by Basic, and no wrong one", async () => {
    for (const auth of [oidc.ClientSecretPost(client.secret), oidc.ClientSecretBasic(client.secret)]) {
      assert.ok((await authorize(await discover(provider.issuer, auth))).access_token);
    }
    const wrong = await discover(provider.issuer, oidc.ClientSecretPost("wrong"));
    await assert.rejects(authorize(wrong), isError("invalid_client"));
  });

  test("goes straight through in a signed-in browser, unless told to ask again", async () => {
    const browser = newBrowser();
    await authorize(config, { browser, login: "bob" });
    const before = browser.history.length;
    const silent = await authorize(config, { browser, login: "alice" });
    assert.equal(silent.claims()?.sub, "bob");
    assert.ok(browser.history.slice(before).every((step) => step.method === "GET" && step.status === 303));
    const asked = await authorize(config, { browser, login: "alice", parameters: { prompt: "login" } });
    assert.equal(asked.claims()?.sub, "alice");
  });

  test("keeps what one sign-in gave when the same browser signs in again", async () => {
    const browser = newBrowser();
    const parameters = { scope: "openid email" };
    const first = await authorize(config, { browser, parameters });
    await authorize(config, { browser, parameters });
    assert.equal((await oidc.fetchUserInfo(config, first.access_token, "alice")).email, "alice@example.com");
  });

  test("advertises no API scopes", () => {
    const { scopes_supported } = config.serverMetadata();
    assert.deepEqual(scopes_supported, ["openid", "profile", "email", "offline_access"]);
  });

  test("shows a login page with one form, one button per user, and everything escaped", async () => {
    const page = await openLoginPage(config);
    assert.equal(page.body.match(/<form/g)?.length, 1);
    assert.match(page.body, /<title>Sign in · Demo identity provider<\/title>/);
    assert.match(page.body, /name="login"\s+value="alice"/);
    assert.match(page.body, /Alice &lt;Admin&gt;/);
    assert.doesNotMatch(page.body, /<script/);
  });

  test("signs in by the button of a listed user, and shows the page again when no name was given", async () => {
    const browser = newBrowser();
    const again = await browser.submit(await openLoginPage(config, browser), { login: " " });
    assert.equal(again.status, 200);
    const done = await browser.submit(again, {}, { button: "bob" });
    assert.ok(done.redirectedTo?.searchParams.has("code"));
  });

  test("shows an error page to a browser that did not begin the sign-in", async () => {
    const { url } = await openLoginPage(config);
    const page = await newBrowser().get(url);
    assert.equal(page.status, 400);
    assert.match(page.body, /Demo identity provider/);
  });
});

async function openLoginPage(config: oidc.Configuration, browser = newBrowser()): Promise<Page> {
  return browser.get(oidc.buildAuthorizationUrl(config, { redirect_uri: redirectUri, scope: "openid" }));
}

describe("the embedded identity provider with another profile", () => {
  test("opaque access tokens carry API scopes and open userinfo", async () => {
    const config = await discover((await start({ accessTokens: "opaque" })).issuer);
    const tokens = await authorize(config, { login: "bob", parameters: { audience, resource: audience } });
    assert.equal(tokens.access_token.split(".").length, 1);
    assert.equal(tokens.scope, "openid profile email offline_access weather:read");
    assert.equal((await oidc.fetchUserInfo(config, tokens.access_token, "bob")).name, "Bob");
    const refreshed = await oidc.refreshTokenGrant(config, tokens.refresh_token!, { resource: audience });
    assert.equal(refreshed.scope, tokens.scope);
  });

  test("JWTs without being asked, with scp, without permissions, for a short time", async () => {
    const behaviour = {
      accessTokens: "jwt",
      scopeClaim: "scp",
      permissionsClaim: false,
      accessTokenSeconds: 5,
    } as const;
    const config = await discover((await start(behaviour)).issuer);
    const tokens = await authorize(config);
    const payload = await verify(config, tokens.access_token);
    assert.deepEqual(payload.scp, everything.split(" "));
    assert.ok(!("scope" in payload) && !("permissions" in payload));
    assert.equal(tokens.expires_in, 5);
    assert.equal(payload.exp! - payload.iat!, 5);
  });

  test("JWTs without any scope claim", async () => {
    const config = await discover((await start({ scopeClaim: "none" })).issuer);
    const tokens = await authorize(config, { parameters: { audience } });
    const payload = await verify(config, tokens.access_token);
    assert.ok(!("scope" in payload) && !("scp" in payload));
    assert.equal(tokens.scope, everything);
  });

  test("static refresh tokens stay good and are not repeated", async () => {
    const config = await discover((await start({ refreshTokens: "static" })).issuer);
    const { refresh_token = "" } = await authorize(config);
    for (const _ of [1, 2]) {
      const refreshed = await oidc.refreshTokenGrant(config, refresh_token);
      assert.ok(refreshed.access_token);
      assert.equal(refreshed.refresh_token, undefined);
    }
  });

  test("no refresh tokens at all", async () => {
    const config = await discover((await start({ refreshTokens: "never" })).issuer);
    assert.equal((await authorize(config)).refresh_token, undefined);
    assert.equal((await authorize(config, { parameters: { prompt: "consent" } })).refresh_token, undefined);
  });

  test("refresh tokens only with prompt=consent", async () => {
    const config = await discover((await start({ refreshTokens: "with-consent-prompt" })).issuer);
    const without = await authorize(config);
    assert.equal(without.refresh_token, undefined);
    assert.equal(without.scope, "openid profile email");
    assert.ok((await authorize(config, { parameters: { prompt: "consent" } })).refresh_token);
  });

  test("an issuer with a trailing slash", async () => {
    const { issuer, port } = await start({ trailingSlashIssuer: true });
    assert.equal(issuer, `http://localhost:${port}/`);
    const config = await discover(issuer);
    assert.equal(config.serverMetadata().issuer, issuer);
    const tokens = await authorize(config, { parameters: { audience } });
    assert.equal(tokens.claims()?.iss, issuer);
    assert.equal((await verify(config, tokens.access_token)).iss, issuer);
  });

  test("unknown scopes and resources refused, known ones listed", async () => {
    const behaviour = {
      unknownScopes: "refused",
      unknownResource: "refused",
      advertisesApiScopes: true,
    } as const;
    const config = await discover((await start(behaviour)).issuer);
    assert.ok(config.serverMetadata().scopes_supported?.includes("weather:read"));
    const scope = "openid nonsense:read";
    await assert.rejects(authorize(config, { parameters: { scope } }), isError("invalid_scope"));
    await assert.rejects(authorize(config, { parameters: { scope, audience } }), isError("invalid_scope"));
    const resource = "https://other.example";
    await assert.rejects(authorize(config, { parameters: { resource } }), isError("invalid_target"));
    const { refresh_token = "" } = await authorize(config, { parameters: { audience } });
    const refresh = oidc.refreshTokenGrant(config, refresh_token, { resource });
    await assert.rejects(refresh, isError("invalid_target"));
  });
});

describe("the life of an embedded identity provider", () => {
  test("rotates its keys: new kid, old one gone, sessions and refresh tokens kept", async () => {
    const provider = await start();
    const config = await discover(provider.issuer);
    const browser = newBrowser();
    const before = await authorize(config, { browser, parameters: { audience } });
    await verify(config, before.access_token);
    await provider.rotateKeys();
    await assert.rejects(verify(config, before.access_token), { code: "ERR_JWKS_NO_MATCHING_KEY" });
    const refreshed = await oidc.refreshTokenGrant(config, before.refresh_token!);
    await verify(config, refreshed.access_token);
    const silent = await authorize(config, { browser, login: "bob", parameters: { audience } });
    assert.equal(silent.claims()?.sub, "alice");
  });

  test("two side by side share a browser and nothing else", async () => {
    const [one, two] = await Promise.all([start(), start()]);
    const [configOne, configTwo] = [await discover(one.issuer), await discover(two.issuer)];
    const browser = newBrowser();
    const atOne = await authorize(configOne, { browser, login: "alice", parameters: { audience } });
    const atTwo = await authorize(configTwo, { browser, login: "bob", parameters: { audience } });
    assert.equal(atTwo.claims()?.sub, "bob");
    assert.equal((await authorize(configOne, { browser, login: "carol" })).claims()?.sub, "alice");
    await assert.rejects(oidc.refreshTokenGrant(configTwo, atOne.refresh_token!), isError("invalid_grant"));
    await oidc.refreshTokenGrant(configOne, atOne.refresh_token!);
    await assert.rejects(verify(configTwo, atOne.access_token));
  });

  test("tells the client of a sign-out over the back channel and leads the browser back", async () => {
    const received: URLSearchParams[] = [];
    const receiver = createServer(async (req, res) => {
      let body = "";
      for await (const chunk of req) body += String(chunk);
      received.push(new URLSearchParams(body));
      res.end();
    }).listen(0, "127.0.0.1");
    await once(receiver, "listening");
    const { port } = receiver.address() as AddressInfo;
    const postLogout = "http://localhost:9/auth/callback/bye";
    const { issuer } = await start(
      {},
      {
        client: {
          ...client,
          backchannelLogoutUri: `http://127.0.0.1:${port}/logout`,
          postLogoutRedirectUris: [postLogout],
        },
      },
    );
    const config = await discover(issuer);
    const browser = newBrowser();
    const tokens = await authorize(config, { browser });
    const page = await browser.get(
      oidc.buildEndSessionUrl(config, {
        id_token_hint: tokens.id_token!,
        post_logout_redirect_uri: postLogout,
      }),
    );
    const left = await browser.submit(page, { logout: "yes" });
    receiver.close();
    assert.equal(left.redirectedTo?.href, postLogout);
    const [, claims = ""] = received[0]?.get("logout_token")?.split(".") ?? [];
    assert.equal(JSON.parse(Buffer.from(claims, "base64url").toString()).sid, tokens.claims()?.sid);
  });
});
