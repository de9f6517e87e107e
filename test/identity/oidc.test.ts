/** The confidential client, against a real provider: what a sign-in and a refresh say of the user. */
import assert from "node:assert/strict";
import { createServer, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { after, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { importJWK, type JWTPayload, SignJWT } from "jose";
import { pino } from "pino";
import { Browser } from "../../dev/client/browser.ts";
import {
  createSigningKey,
  type DemoUser,
  type ProviderBehaviour,
  startIdentityProvider,
} from "../../dev/identity-provider/identity-provider.ts";
import { createProviderStorage } from "../../dev/identity-provider/storage.ts";
import { loadConfig } from "../../src/config/config.ts";
import { createOidcProvider } from "../../src/identity/oidc/oidc.ts";
import type { IdentityProviderSettings } from "../../src/identity/settings.ts";
import { held } from "../support/held.ts";
import { signIn } from "../support/sign-in.ts";

const AUDIENCE = "https://weather.example.com";
const CLIENT_ID = "proxy-4.client~1";
const REDIRECT_URI = "http://localhost:9/auth/callback";
const closers: Array<() => Promise<unknown>> = [];
after(() => Promise.all(closers.map((close) => close())));

interface TokenAnswer {
  status: number;
  error: string;
}

interface Fault {
  userinfoJwt?: string;
  userinfo?: "500" | "hang" | "another user" | "another address";
  /** What the token endpoint says; undefined: what the provider itself says. */
  token?: (isBasic: boolean) => TokenAnswer | undefined | Promise<undefined>;
}

interface House {
  secret?: string;
  /** What the provider says of itself, changed. */
  discovery?: (document: Record<string, unknown>) => object;
  behaviour?: ProviderBehaviour;
  user?: Partial<DemoUser>;
  environment?: Record<string, string>;
  adjust?: Partial<IdentityProviderSettings>;
}

/** Of every provider here, because to make one takes 0.3 s. */
const providersKey = createSigningKey();

/** A provider whose userinfo can be broken, and a client of it. */
async function start(house: House = {}) {
  const {
    behaviour = {},
    user = {},
    environment = {},
    adjust = {},
    secret = "proxy-secret",
    discovery,
  } = house;
  const posted: Array<{ path: string; authorization: string | undefined; body: URLSearchParams }> = [];
  const signingKey = await providersKey;
  const fault: Fault = {};
  const json = (body: string) => (res: ServerResponse) =>
    res.writeHead(200, { "content-type": "application/json" }).end(body);
  const broken: Record<NonNullable<Fault["userinfo"]>, (res: ServerResponse) => void> = {
    "500": (res) => res.writeHead(500).end(),
    hang: () => {},
    "another user": json('{"sub":"mallory","roles":["admin"]}'),
    "another address": json('{"sub":"alice","email":"boss@example.com"}'),
  };
  const front = createServer((req, res) => {
    if (req.url === "/me" && fault.userinfoJwt !== undefined)
      return res.writeHead(200, { "content-type": "application/jwt" }).end(fault.userinfoJwt);
    if (req.url === "/me" && fault.userinfo !== undefined) return broken[fault.userinfo](res);
    const { method, url, headers } = req;
    if (method === "POST") {
      const { authorization } = headers;
      const body = text(req).then((read) => new URLSearchParams(read));
      void body.then((fields) => posted.push({ path: url ?? "", authorization, body: fields }));
      const { token } = fault;
      if (token !== undefined && url === "/token")
        return void body.then(async (fields) => {
          const said = await token(authorization !== undefined);
          if (said === undefined) return void forward().end(fields.toString());
          const { status, error } = said;
          res.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify({ error }));
        });
    }
    req.pipe(forward());

    function forward() {
      return request({ port: provider.port, host: "127.0.0.1", method, path: url, headers }, (answer) => {
        const { "content-length": _, ...rest } = answer.headers;
        if (discovery !== undefined && url?.startsWith("/.well-known/"))
          return void text(answer).then((body) =>
            res.writeHead(200, rest).end(JSON.stringify(discovery(JSON.parse(body)))),
          );
        res.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(res);
      });
    }
  });
  await new Promise<void>((resolve) => front.listen(0, "127.0.0.1", resolve));
  const provider = await startIdentityProvider({
    port: 0,
    publicUrl: `http://localhost:${(front.address() as AddressInfo).port}`,
    client: { id: CLIENT_ID, secret, redirectUris: [REDIRECT_URI] },
    audience: AUDIENCE,
    scopes: ["weather:read"],
    users: [
      { subject: "alice", name: "Alice", email: "alice@example.com", permissions: ["weather:read"], ...user },
    ],
    behaviour: { advertisesApiScopes: true, ...behaviour },
    kept: { adapter: createProviderStorage(), cookieKey: "cookie-key-of-a-test", signingKey },
  });
  closers.push(async () => {
    front.closeAllConnections();
    front.close();
    await provider.close();
  });
  const {
    identityProviders: [upstream],
  } = loadConfig({
    BASE_URL: "http://localhost:9",
    STORE: "memory",
    SECRET_KEY: "test-secret-key-with-more-than-32-bytes-0123456789",
    OIDC_ISSUER: provider.issuer,
    OIDC_CLIENT_ID: CLIENT_ID,
    OIDC_CLIENT_SECRET: secret,
    OIDC_AUDIENCE: AUDIENCE,
    ...environment,
  });
  const clock = { ahead: 0 };
  /** As after a restart: it has learned nothing yet. */
  const newClient = () =>
    createOidcProvider(
      { ...upstream, ...adjust },
      {
        now: () => Math.floor(Date.now() / 1000) + clock.ahead,
        randomBytes: (n) => crypto.getRandomValues(Buffer.alloc(n)),
        log: pino({ level: "silent" }),
      },
    );
  const client = newClient();
  async function login() {
    const asked = {
      redirectUri: REDIRECT_URI,
      state: "state",
      nonce: "nonce",
      codeVerifier: "v".repeat(43),
      scopes: ["weather:read"],
    };
    const url = await client.authorizationUrl(asked);
    const callback = await signIn(new Browser({ stopAt: ({ href }) => href.startsWith(REDIRECT_URI) }), url);
    const { tokens, ...user } = await client.finishLogin(callback.searchParams, asked);
    return { ...user, tokens, refreshToken: tokens.refreshToken ?? "", url };
  }
  return { provider, client, newClient, fault, login, posted, signingKey, clock };
}

describe("a refresh tells of the user", () => {
  const ways: Array<[string, ProviderBehaviour]> = [
    ["by the claims of a JWT access token", { claimsInAccessToken: true }],
    ["by userinfo where the access token is opaque", { accessTokens: "opaque" }],
  ];
  for (const [name, behaviour] of ways)
    test(name, async () => {
      const { provider, client, login } = await start({
        behaviour,
        user: { claims: { roles: ["chief"] } },
      });
      const { claims, refreshToken } = await login();
      assert.deepEqual(claims.roles, ["chief"]);
      provider.changeUser("alice", { claims: { roles: ["reader"], dept: "sales" } });
      const renewed = await client.refresh(refreshToken, { issuer: "any", subject: "alice", renewable: [] });
      assert.deepEqual([renewed.claims?.roles, renewed.claims?.dept], [["reader"], "sales"]);
      assert.equal(renewed.claims?.sub, "alice");
    });

  test("but never who it is, and not the login session: those are the sign-in's", async () => {
    const { client, provider, login } = await start({ behaviour: { claimsInAccessToken: true } });
    const { refreshToken } = await login();
    provider.changeUser("alice", { claims: { sid: "another", jti: "x", nbf: 1, dept: "sales" } });
    const { claims } = await client.refresh(refreshToken, {
      issuer: "any",
      subject: "the-user-of-the-sign-in",
      renewable: [],
    });
    assert.equal(claims?.sub, "the-user-of-the-sign-in");
    assert.equal(claims?.dept, "sales");
    for (const name of ["sid", "jti", "nbf", "nonce"]) assert.equal(claims?.[name], undefined, name);
  });

  for (const userinfo of ["500", "another user", "hang"] as const)
    test(`or not at all, if userinfo answers: ${userinfo}. The new tokens are kept, and nobody waits for long`, {
      timeout: 30_000,
    }, async () => {
      const { client, fault, login } = await start({
        behaviour: { accessTokens: "opaque" },
        environment: { UPSTREAM_TIMEOUT_SECONDS: "60", SCOPES_FROM: "claim", SCOPE_CLAIM: "roles" },
        user: { claims: { roles: ["weather:read"] } },
      });
      const { refreshToken, scopes } = await login();
      assert.deepEqual(scopes, ["weather:read"]);
      fault.userinfo = userinfo;
      const renewed = await client.refresh(refreshToken, { issuer: "any", subject: "alice", renewable: [] });
      assert.equal(renewed.claims, undefined);
      assert.equal(renewed.scopes, undefined, "nobody loses a role because a server is down");
      assert.notEqual(renewed.tokens.refreshToken, refreshToken);
      delete fault.userinfo;
      const next = await client.refresh(renewed.tokens.refreshToken ?? "", {
        issuer: "any",
        subject: "alice",
        renewable: [],
      });
      assert.deepEqual(next.claims?.roles, ["weather:read"]);
    });

  test("or not at all, if the access token is not for us", async () => {
    const { client, provider, login } = await start({ behaviour: { claimsInAccessToken: true } });
    const { refreshToken } = await login();
    provider.changeUser("alice", { claims: { aud: "https://somebody.example", roles: ["admin"] } });
    const renewed = await client.refresh(refreshToken, { issuer: "any", subject: "alice", renewable: [] });
    assert.equal(renewed.claims, undefined);
    assert.notEqual(renewed.tokens.refreshToken, refreshToken);
  });
});

describe("a sign-in", () => {
  test("does not take the ID token's verification for the address that userinfo names", async () => {
    const { fault, login } = await start({ behaviour: { accessTokens: "opaque" } });
    assert.equal((await login()).claims.email_verified, true);
    fault.userinfo = "another address";
    const { claims } = await login();
    assert.deepEqual([claims.email, claims.email_verified], ["boss@example.com", undefined]);
  });

  test("for an Auth0 organization says which, and comes back with it", async () => {
    const user = { organization: { id: "org_1", name: "acme" } };
    for (const organization of ["org_1", "ACME"]) {
      const { login } = await start({ user, adjust: { preset: "auth0", organization } });
      const { url, claims } = await login();
      assert.equal(url.searchParams.get("organization"), organization);
      assert.deepEqual([claims.org_id, claims.org_name], ["org_1", "acme"]);
    }
  });

  test("without one says nothing of it", async () => {
    const { login } = await start({ user: { organization: { id: "org_1", name: "acme" } } });
    const { url, claims } = await login();
    assert.equal(url.searchParams.has("organization"), false);
    assert.equal(claims.org_id, undefined);
  });
});

describe("the tools' scopes that no sign-in asks for", () => {
  test("are those that discovery does not list and OIDC_SCOPES does not name", async () => {
    const { client } = await start();
    assert.deepEqual(await client.unaskedScopes(["weather:read", "weather:write"]), ["weather:write"]);
    const named = await start({ environment: { OIDC_SCOPES: "openid weather:write" } });
    assert.deepEqual(await named.client.unaskedScopes(["weather:read", "weather:write"]), []);
  });

  test("are none at Auth0, which does not list those of its APIs and is asked for all", async () => {
    const { client } = await start({ adjust: { preset: "auth0" } });
    assert.deepEqual(await client.unaskedScopes(["weather:write"]), []);
  });
});

describe("the client secret goes", () => {
  const bodySecret = ({ body }: { body: URLSearchParams }) => body.get("client_secret");
  // A secret that means something else to whoever does not decode, or does not encode.
  const ODD = "a:b%41+c d/e=&f~-._";

  test("in a header where the provider lists nothing else, percent-encoded (RFC 6749 §2.3.1)", async () => {
    const { client, login, posted } = await start({
      behaviour: { clientAuthentication: "basic" },
      secret: ODD,
    });
    const { refreshToken } = await login();
    await client.refresh(refreshToken, { issuer: "any", subject: "alice", renewable: [] });
    await client.revoke(refreshToken);
    assert.equal(posted.filter(({ path }) => path.startsWith("/token")).length, 3);
    for (const each of posted.filter(({ path }) => path.startsWith("/token"))) {
      assert.equal(bodySecret(each), null);
      const credentials = Buffer.from(each.authorization?.slice("Basic ".length) ?? "", "base64").toString();
      assert.equal(credentials, `${CLIENT_ID}:${encodeURIComponent(ODD)}`);
    }
  });

  test("in the body where both are listed, as it always has", async () => {
    const { login, posted } = await start({ secret: ODD });
    await login();
    const [token] = posted.filter(({ path }) => path === "/token");
    assert.deepEqual([token && bodySecret(token), token?.authorization], [ODD, undefined]);
  });

  test("in the body to Auth0, and as it was set to whoever else lists otherwise", async () => {
    const auth0 = await start({ adjust: { preset: "auth0" } });
    await auth0.login();
    assert.equal(auth0.posted.find(({ path }) => path === "/token")?.authorization, undefined);
    const chosen = await start({ environment: { OIDC_TOKEN_ENDPOINT_AUTH_METHOD: "client_secret_basic" } });
    await chosen.login();
    const [token] = chosen.posted.filter(({ path }) => path === "/token");
    assert.match(token?.authorization ?? "", /^Basic /);
    assert.equal(token && bodySecret(token), null);
  });

  test("both ways in turn to a provider that lists nothing, until one is right", async () => {
    const { login, posted } = await start({
      behaviour: { clientAuthentication: "basic", advertisesClientAuthentication: false },
    });
    const ways = () =>
      posted.filter(({ path }) => path === "/token").map((each) => bodySecret(each) === null);
    await login();
    assert.deepEqual(ways(), [false, true]);
    await login();
    assert.deepEqual(ways(), [false, true, true], "and then remembers which");
  });

  test("both ways to each of many at once, also if one hears of the first way after another has learned the second", async () => {
    const { login, fault } = await start({
      behaviour: { clientAuthentication: "basic", advertisesClientAuthentication: false },
    });
    const answer = held();
    let asked = 0;
    fault.token = async () => {
      if (++asked === 1) await answer.wait();
      return undefined;
    };
    const slow = login();
    await answer.reached();
    await login();
    await login();
    answer.letGo();
    assert.equal((await slow).subject, "alice");
  });

  describe("both ways to a provider that lists nothing,", () => {
    const SILENT = { advertisesClientAuthentication: false };
    const inHeader =
      (basic: TokenAnswer, post?: TokenAnswer): NonNullable<Fault["token"]> =>
      (isBasic) =>
        isBasic ? basic : post;

    const failures: Array<[string, TokenAnswer, TokenAnswer]> = [
      [
        "a refusal of a user",
        { status: 401, error: "invalid_grant" },
        { status: 400, error: "invalid_request" },
      ],
      [
        "an outage",
        { status: 401, error: "invalid_client" },
        { status: 503, error: "temporarily_unavailable" },
      ],
    ];
    for (const [name, post, basic] of failures)
      test(`and ${name} teaches no way: what is right goes on`, async () => {
        const { newClient, login, fault } = await start({ behaviour: SILENT });
        const { refreshToken } = await login();
        const client = newClient();
        const renew = () => client.refresh(refreshToken, { issuer: "any", subject: "alice", renewable: [] });
        fault.token = inHeader(basic, post);
        await assert.rejects(renew());
        fault.token = inHeader({ status: 400, error: "invalid_request" });
        assert.ok((await renew()).tokens.accessToken);
      });

    test("and a wrong secret is not taken for the end of a session, whatever the second way is answered with", async () => {
      const { newClient, login, fault } = await start({ behaviour: SILENT });
      const { refreshToken } = await login();
      fault.token = inHeader(
        { status: 400, error: "invalid_request" },
        { status: 401, error: "invalid_client" },
      );
      await assert.rejects(
        newClient().refresh(refreshToken, { issuer: "any", subject: "alice", renewable: [] }),
        {
          reason: "client_credentials_rejected",
        },
      );
    });
  });

  test("a wrong one is told as wrong, whichever way it went", async () => {
    for (const advertisesClientAuthentication of [true, false]) {
      const { login } = await start({
        behaviour: { clientAuthentication: "basic", advertisesClientAuthentication },
        adjust: { credential: { kind: "secret", secret: "wrong" } },
      });
      await assert.rejects(login(), { reason: "client_credentials_rejected" });
    }
  });

  test("to the revocation endpoint as to the token endpoint, whatever is listed for it", async () => {
    const { client, login, posted } = await start({
      discovery: (document) => ({
        ...document,
        revocation_endpoint_auth_methods_supported: ["client_secret_basic"],
      }),
    });
    await client.revoke((await login()).refreshToken);
    const [revocation] = posted.filter(({ path }) => path === "/token/revocation");
    assert.equal(revocation?.authorization, undefined);
  });

  test("plainly where an operator knows that the provider does not decode", async () => {
    const { posted, login } = await start({
      secret: "a/b=c",
      environment: { OIDC_TOKEN_ENDPOINT_AUTH_METHOD: "client_secret_basic_plain" },
    });
    await login();
    const [token] = posted.filter(({ path }) => path === "/token");
    const credentials = Buffer.from(token?.authorization?.slice("Basic ".length) ?? "", "base64").toString();
    assert.equal(credentials, `${CLIENT_ID}:a/b=c`);
  });
});

describe("userinfo as a signed JWT, of which discovery says nothing,", () => {
  const SIGNED: House = {
    behaviour: { userinfo: "signed", accessTokens: "opaque" },
    user: { claims: { roles: ["chief"] } },
  };

  test("is verified by the provider's keys, at sign-in and at a refresh", async () => {
    const { client, provider, login } = await start(SIGNED);
    const { claims, refreshToken } = await login();
    assert.deepEqual([claims.name, claims.roles], ["Alice", ["chief"]]);
    await delay(1_200); // keys are asked for once a second at most
    await provider.rotateKeys();
    const renewed = await client.refresh(refreshToken, { issuer: "any", subject: "alice", renewable: [] });
    assert.deepEqual(renewed.claims?.roles, ["chief"]);
  });

  type Key = Awaited<ReturnType<typeof createSigningKey>>;
  const sign = async (claims: JWTPayload, key: Key, extensions: { b64?: boolean } = {}) =>
    new SignJWT(claims)
      .setProtectedHeader({ alg: "RS256", kid: String(key.kid), ...extensions })
      .sign(await importJWK(key as Parameters<typeof importJWK>[0], "RS256"));
  const unsigned = (claims: JWTPayload) =>
    `${[{ alg: "none" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".")}.`;
  type Forge = (claims: JWTPayload, key: Key) => Promise<string> | string;
  const forged: Array<[string, Forge]> = [
    [
      "by another key of the same name",
      async (claims, { kid }) => sign(claims, { ...(await createSigningKey()), kid: String(kid) }),
    ],
    ["by nobody", unsigned],
    ["of another issuer", (claims, key) => sign({ ...claims, iss: "https://other.example" }, key)],
    ["without an issuer", ({ iss: _, ...claims }, key) => sign(claims, key)],
    ["for another client", (claims, key) => sign({ ...claims, aud: "another" }, key)],
    ["for nobody", ({ aud: _, ...claims }, key) => sign(claims, key)],
    ["of another user", (claims, key) => sign({ ...claims, sub: "mallory" }, key)],
    ["called unencoded", (claims, key) => sign(claims, key, { b64: false })],
    ["that is over", (claims, key) => sign({ ...claims, exp: 1 }, key)],
    ["that is encrypted", () => "eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d"],
  ];
  for (const [name, forge] of forged)
    test(`signs nobody in: one ${name}`, async () => {
      const { fault, login, provider, signingKey } = await start(SIGNED);
      const genuine = { iss: provider.issuer, aud: CLIENT_ID, sub: "alice", roles: ["admin"] };
      fault.userinfoJwt = await sign(genuine, signingKey);
      assert.deepEqual((await login()).claims.roles, ["admin"], "which is so for what is forged");
      fault.userinfoJwt = await forge(genuine, signingKey);
      await assert.rejects(login(), { reason: "userinfo_failed" });
    });

  test("ends by the clock that the client is given", async () => {
    const { fault, login, provider, signingKey, clock } = await start(SIGNED);
    const exp = Math.floor(Date.now() / 1000) + 100;
    const claims = { iss: provider.issuer, aud: CLIENT_ID, sub: "alice", roles: ["admin"], exp };
    fault.userinfoJwt = await sign(claims, signingKey);
    assert.deepEqual((await login()).claims.roles, ["admin"]);
    clock.ahead = 200;
    await assert.rejects(login(), { reason: "userinfo_failed" });
  });
});

describe("the time of the provider's tokens is compared with the clock that the client is given", () => {
  const tokens: Array<[name: string, code: string, lifetime: number, ProviderBehaviour]> = [
    ["an ID token", "invalid_id_token", 3_600, { accessTokens: "opaque" }],
    ["an access token", "invalid_access_token", 300, { accessTokenSeconds: 300 }],
  ];
  for (const [name, code, lifetime, behaviour] of tokens)
    test(`${name} that is over signs nobody in`, async () => {
      const { login, clock } = await start({ behaviour });
      clock.ahead = lifetime - 60;
      await login();
      clock.ahead = lifetime + 60;
      await assert.rejects(login(), { code });
    });
});
