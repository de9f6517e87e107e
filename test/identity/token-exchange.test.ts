/** How Entra and Auth0 are asked for tokens for other APIs: at the embedded provider, which is told to behave as they do. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { decodeJwt, importJWK, type JWTPayload, SignJWT } from "jose";
import { pino } from "pino";
import {
  createSigningKey,
  type RunningIdentityProvider,
  startIdentityProvider,
} from "../../dev/identity-provider/identity-provider.ts";
import { createProviderStorage } from "../../dev/identity-provider/storage.ts";
import { loadConfig } from "../../src/config/config.ts";
import { createOidcProvider } from "../../src/identity/oidc/oidc.ts";
import type { ApiRequest } from "../../src/oauth/other-api.ts";
import { type Fetch, systemClock } from "../../src/runtime/runtime.ts";

const PROFILE = "urn:acme:access-token";
const ORDERS = "api://orders";
const USER = { issuer: "", subject: "alice", claims: { oid: "oid-of-alice" } };

const ENVIRONMENT = {
  BASE_URL: "http://localhost:9",
  STORE: "memory",
  SECRET_KEY: "test-secret-key-with-more-than-32-bytes-0123456789",
};
const ENTRA = {
  OIDC_ISSUER: "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0",
  OIDC_CLIENT_ID: "proxy",
  OIDC_CLIENT_SECRET: "proxy-secret",
};
const AUTH0 = {
  AUTH0_DOMAIN: "tenant.eu.auth0.com",
  AUTH0_CLIENT_ID: "proxy",
  AUTH0_CLIENT_SECRET: "proxy-secret",
  AUTH0_AUDIENCE: "https://weather.example.com",
};

const signingKey = await createSigningKey();
const running: RunningIdentityProvider[] = [];
const start = async (subjectTokenType?: string) => {
  const started = await startIdentityProvider({
    port: 0,
    client: { id: "proxy", secret: "proxy-secret", redirectUris: ["http://localhost:9/auth/callback"] },
    audience: "https://weather.example.com",
    scopes: ["weather:read"],
    otherApis: { [ORDERS]: ["Orders.Read", "Orders.Write"] },
    users: [
      {
        subject: "alice",
        name: "Alice",
        email: "alice@example.com",
        permissions: ["Orders.Read", "Orders.Write"],
        claims: { oid: "oid-of-alice" },
      },
    ],
    behaviour: {
      ...(subjectTokenType !== undefined && { subjectTokenType }),
      claimsInAccessToken: true,
    },
    kept: { adapter: createProviderStorage(), cookieKey: "cookies", signingKey },
  });
  running.push(started);
  return started;
};
after(() => Promise.all(running.map((each) => each.close())));

/** As the provider signs access tokens. */
async function accessToken(issuer: string, claims: JWTPayload = {}): Promise<string> {
  return new SignJWT({ client_id: "proxy", sub: "alice", ...claims })
    .setProtectedHeader({ alg: "RS256", kid: signingKey.kid ?? "" })
    .setIssuer(issuer)
    .setIssuedAt()
    .setExpirationTime("1h")
    .sign(await importJWK(signingKey as Parameters<typeof importJWK>[0], "RS256"));
}

/** The provider by its own name, whose host is the embedded one; what it is asked is noted, and what it answers may be changed. */
function providerOf(environment: Record<string, string>, embedded: RunningIdentityProvider) {
  const [config] = loadConfig({ ...ENVIRONMENT, ...environment }).identityProviders;
  const asked: Array<Record<string, string>> = [];
  const change = { answer: (body: Record<string, unknown>): object => body, status: 0 };
  const document = {
    issuer: config.issuer,
    authorization_endpoint: new URL("/auth", config.issuer).href,
    token_endpoint: new URL("/token", config.issuer).href,
    jwks_uri: new URL("/jwks", config.issuer).href,
    response_types_supported: ["code"],
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: ["RS256"],
    token_endpoint_auth_methods_supported: ["client_secret_post"],
  };
  const fetchFrom: Fetch = async (url, options) => {
    const { pathname } = new URL(url);
    if (pathname.endsWith("/openid-configuration")) return Response.json(document);
    asked.push(Object.fromEntries(options?.body as URLSearchParams));
    const answered = await fetch(new URL(pathname, embedded.issuer), options);
    const body = change.answer((await answered.json()) as Record<string, unknown>);
    return Response.json(body, { status: change.status || answered.status });
  };
  const runtime = { now: systemClock, randomBytes, log: pino({ level: "silent" }), fetch: fetchFrom };
  const provider = createOidcProvider(config, runtime);
  return {
    asked,
    change,
    exchange: async (api: ApiRequest) =>
      provider.exchange(await accessToken(embedded.issuer), api, { ...USER, issuer: config.issuer }),
  };
}

describe("Entra, on behalf of the user", () => {
  let embedded: RunningIdentityProvider;
  before(async () => {
    embedded = await start();
  });

  test("is asked by an assertion, and scopes have the API before them", async () => {
    const { exchange, asked } = providerOf(ENTRA, embedded);
    const token = await exchange({ audience: ORDERS, scopes: ["Orders.Read"] });
    const { assertion, ...rest } = asked[0] ?? {};
    assert.equal(decodeJwt(assertion ?? "").sub, "alice");
    assert.deepEqual(rest, {
      grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
      requested_token_use: "on_behalf_of",
      scope: "api://orders/Orders.Read",
      client_id: "proxy",
      client_secret: "proxy-secret",
    });
    assert.equal(decodeJwt(token.accessToken).aud, ORDERS);
  });

  test("gives all that was consented to where no scope is named, or a whole one", async () => {
    const { exchange, asked } = providerOf(ENTRA, embedded);
    assert.deepEqual((await exchange({ audience: ORDERS, scopes: [] })).scopes, [
      ...["Orders.Read", "Orders.Write"],
    ]);
    await exchange({ audience: "orders", scopes: ["api://orders/Orders.Write"] });
    assert.deepEqual(
      asked.map(({ scope }) => scope),
      ["api://orders/.default", "api://orders/Orders.Write"],
    );
  });

  test("names scopes with the API before them, in other cases, and those of OpenID Connect beside", async () => {
    const { exchange, change } = providerOf(ENTRA, embedded);
    change.answer = (body) => ({ ...body, scope: "openid profile API://orders/orders.read" });
    await exchange({ audience: ORDERS, scopes: ["Orders.Read"] });
    change.answer = (body) => ({ ...body, scope: "api://orders/Orders.Read api://orders/Orders.Write" });
    await assert.rejects(exchange({ audience: ORDERS, scopes: ["Orders.Read"] }), {
      code: "exchanged_token_broader",
    });
  });

  test("names the user by oid, because sub is another one for each application", async () => {
    const { exchange, change } = providerOf(ENTRA, embedded);
    const said = (claims: JWTPayload) => async () => {
      const token = await accessToken(embedded.issuer, { scp: "Orders.Read", ...claims });
      change.answer = (body) => ({ ...body, access_token: token, scope: undefined });
      return exchange({ audience: ORDERS, scopes: ["Orders.Read"] });
    };
    await said({ sub: "alice-at-orders", oid: "oid-of-alice", aud: "a-guid" })();
    await assert.rejects(said({ sub: "alice", oid: "oid-of-bob" }), {
      code: "exchanged_token_of_another_user",
    });
  });

  test("says in suberror that consent is missing", async () => {
    const { exchange, change } = providerOf(ENTRA, embedded);
    change.status = 400;
    const error = { error: "invalid_grant", error_description: "AADSTS65001", suberror: "consent_required" };
    change.answer = () => error;
    await assert.rejects(exchange({ audience: ORDERS, scopes: [] }), { code: "consent_required" });
    change.answer = () => ({ ...error, suberror: "basic_action" });
    await assert.rejects(exchange({ audience: ORDERS, scopes: [] }), { code: "invalid_grant" });
  });
});

describe("Auth0, by Custom Token Exchange", () => {
  let embedded: RunningIdentityProvider;
  before(async () => {
    embedded = await start(PROFILE);
  });

  test("is asked with the type of the tenant's profile, and an audience, whichever way the API is named", async () => {
    const { exchange, asked } = providerOf({ ...AUTH0, OIDC_SUBJECT_TOKEN_TYPE: PROFILE }, embedded);
    for (const api of [{ audience: ORDERS }, { resource: ORDERS }]) {
      const token = await exchange({ ...api, scopes: ["Orders.Read"] });
      assert.equal(decodeJwt(token.accessToken).aud, ORDERS);
    }
    for (const { subject_token: _, ...rest } of asked)
      assert.deepEqual(rest, {
        grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
        subject_token_type: PROFILE,
        audience: ORDERS,
        scope: "Orders.Read",
        client_id: "proxy",
        client_secret: "proxy-secret",
      });
  });

  test("for an organization it is asked for a token of that", async () => {
    const { exchange, asked } = providerOf(
      { ...AUTH0, OIDC_SUBJECT_TOKEN_TYPE: PROFILE, AUTH0_ORGANIZATION: "org_acme" },
      embedded,
    );
    await exchange({ audience: ORDERS, scopes: [] });
    assert.equal(asked[0]?.organization, "org_acme");
  });

  test("without that type nothing is sent, and the log says which setting is missing", async () => {
    const { exchange, asked } = providerOf(AUTH0, embedded);
    await assert.rejects(exchange({ audience: ORDERS, scopes: [] }), (error: Error) => {
      assert.match(
        String((error.cause as Error).message),
        /neither OIDC_EXCHANGE_CLIENT_ID nor OIDC_SUBJECT_TOKEN_TYPE is set/,
      );
      return (error as { reason?: string }).reason === "exchange_misconfigured";
    });
    assert.equal(asked.length, 0);
  });
});
