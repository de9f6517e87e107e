/**
 * Token exchange (RFC 8693) and assertions of an identity provider (ID-JAG, RFC 7523) with an implementation that is not ours:
 * Cloudflare's OAuth provider for Workers, in this process. It exchanges for narrower scopes at the same resource.
 */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { pathToFileURL } from "node:url";
import { SignJWT } from "jose";
import { pino } from "pino";
import { UpstreamRefusal } from "../../src/identity/identity-provider.ts";
import { createAuthorizationServer } from "../../src/identity/oidc/authorization-server.ts";
import { createOidcProvider } from "../../src/identity/oidc/oidc.ts";
import type { IdentityProviderSettings } from "../../src/identity/settings.ts";
import { installedPackage } from "../support/installed-package.ts";
import { newKey } from "../support/token-issuer.ts";

const PACKAGE = "@cloudflare/workers-oauth-provider";
const { version } = await installedPackage(PACKAGE, "test/interop");
const REDIRECT_URI = "http://127.0.0.1/callback";
const COMPANY = "https://acme.example.com";
const runtime = {
  now: () => Math.floor(Date.now() / 1000),
  randomBytes,
  log: pino({ level: "silent" }),
};

/** What of it is used here. */
interface Provider {
  fetch(request: Request, env: object, context: object): Promise<Response>;
}
interface Helpers {
  createClient(client: object): Promise<{ clientId: string; clientSecret: string }>;
  completeAuthorization(options: object): Promise<{ redirectTo: string }>;
}
type Module = {
  default: new (options: object) => Provider;
  getOAuthApi(options: object, env: object): Helpers;
};

/** Outside of a Worker it lacks one class, of which it wants to know whether a handler is one. */
async function imported(): Promise<Module> {
  const folder = mkdtempSync(join(tmpdir(), "workers-oauth-"));
  after(() => rmSync(folder, { recursive: true }));
  const path = join("test/interop/node_modules", PACKAGE, "dist/oauth-provider.js");
  const source = readFileSync(path, "utf8");
  const line = 'import { WorkerEntrypoint } from "cloudflare:workers";';
  assert.ok(source.startsWith(line));
  const file = join(folder, "oauth-provider.mjs");
  writeFileSync(file, source.replace(line, "class WorkerEntrypoint {}"));
  return await import(pathToFileURL(file).href);
}

/** Workers KV, as far as it is used. */
function keyValues() {
  const kept = new Map<string, string>();
  return {
    async get(key: string, options?: { type?: string }) {
      const value = kept.get(key);
      return value === undefined ? null : options?.type === "json" ? JSON.parse(value) : value;
    },
    put: async (key: string, value: string) => void kept.set(key, value),
    delete: async (key: string) => void kept.delete(key),
    list: async ({ prefix = "" }) => ({
      keys: [...kept.keys()].filter((name) => name.startsWith(prefix)).map((name) => ({ name })),
      list_complete: true,
    }),
  };
}

describe(`token exchange at ${PACKAGE} ${version}`, () => {
  let issuer: string;
  let resource: string;
  let settings: IdentityProviderSettings;
  let accessToken: string;
  let client: { clientId: string; clientSecret: string };
  let signedByCompany: (claims: object) => Promise<string>;
  const server = createServer();
  const { fetch: network } = globalThis;

  before(async () => {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    issuer = `http://localhost:${(server.address() as AddressInfo).port}`;
    resource = `${issuer}/mcp`;
    const { default: OAuthProvider, getOAuthApi } = await imported();
    // Of an issuer it takes this one, unless it is told.
    const key = await newKey("RS256");
    const { d: _private, ...publicKey } = key.jwk;
    const handler = { fetch: async () => new Response("not used") };
    const options = {
      apiRoute: "/mcp",
      apiHandler: handler,
      defaultHandler: handler,
      authorizeEndpoint: "/authorize",
      tokenEndpoint: "/token",
      scopesSupported: ["orders:read", "orders:write"],
      allowTokenExchangeGrant: true,
      onError: () => {},
      resourceMetadata: { resource, authorization_servers: [issuer] },
      enterpriseManagedAuthorization: {
        trustedIssuers: async ({ iss }: { iss: string }) =>
          iss === COMPANY ? { issuer: iss, jwksUri: `${COMPANY}/keys` } : null,
        mapClaims: async ({
          claims,
          requestedScope,
        }: {
          claims: { sub: string };
          requestedScope: string[];
        }) => ({
          userId: claims.sub,
          scope: requestedScope,
          props: {},
        }),
      },
    };
    const env = { OAUTH_KV: keyValues() };
    const provider = new OAuthProvider(options);
    const context = { waitUntil: () => {}, passThroughOnException: () => {} };
    server.on(
      "request",
      listenerOf(async (request) => {
        const { pathname } = new URL(request.url);
        if (pathname !== "/.well-known/openid-configuration") return provider.fetch(request, env, context);
        // It is no OpenID provider; nobody signs in by it here.
        const answer = await provider.fetch(
          new Request(`${issuer}/.well-known/oauth-authorization-server`),
          env,
          context,
        );
        return Response.json({ ...((await answer.json()) as object), jwks_uri: `${issuer}/keys` });
      }),
    );
    globalThis.fetch = async (input, init) =>
      String(input instanceof Request ? input.url : input) === `${COMPANY}/keys`
        ? Response.json({ keys: [publicKey] })
        : network(input, init);
    signedByCompany = (claims) =>
      new SignJWT({ ...claims, client_id: client.clientId, resource })
        .setProtectedHeader({ alg: key.alg, kid: key.kid, typ: "oauth-id-jag+jwt" })
        .setIssuer(COMPANY)
        .setAudience(issuer)
        .setSubject("alice")
        .setJti(randomBytes(16).toString("hex"))
        .setIssuedAt()
        .setExpirationTime("2m")
        .sign(key.privateKey);

    const helpers = getOAuthApi(options, env);
    client = await helpers.createClient({
      redirectUris: [REDIRECT_URI],
      clientName: "mcp",
      tokenEndpointAuthMethod: "client_secret_post",
      grantTypes: [
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
      ],
    });
    settings = {
      id: "cloudflare",
      preset: "oidc",
      issuer,
      clientId: client.clientId,
      credential: { kind: "secret", secret: client.clientSecret },
      scopeSources: { kind: "consent" },
      authorizationParameters: {},
      logoutTokenExp: "required",
      tokenEndpointAuthMethod: "auto",
      pushedAuthorizationRequests: "auto",
      timeoutSeconds: 10,
    } as unknown as IdentityProviderSettings;
    const codeVerifier = randomBytes(32).toString("base64url");
    const scope = ["orders:read", "orders:write"];
    const { redirectTo } = await helpers.completeAuthorization({
      request: {
        responseType: "code",
        clientId: client.clientId,
        redirectUri: REDIRECT_URI,
        scope,
        state: "state",
        codeChallenge: createHash("sha256").update(codeVerifier).digest("base64url"),
        codeChallengeMethod: "S256",
        resource,
        issuer,
      },
      userId: "alice",
      metadata: {},
      scope,
      props: {},
    });
    const form = new URLSearchParams({
      grant_type: "authorization_code",
      code: new URL(redirectTo).searchParams.get("code") ?? "",
      redirect_uri: REDIRECT_URI,
      code_verifier: codeVerifier,
      client_id: client.clientId,
      client_secret: client.clientSecret,
    });
    const answer = await network(`${issuer}/token`, { method: "POST", body: form });
    const tokens = (await answer.json()) as Record<string, string>;
    accessToken = tokens.access_token ?? assert.fail(JSON.stringify(tokens));
  });
  after(() => {
    globalThis.fetch = network;
    server.closeAllConnections();
    server.close();
  });

  const alice = { issuer: "", subject: "alice", claims: {} };
  const exchange = (scopes: string[], token = accessToken, at = resource) =>
    createOidcProvider(settings, runtime).exchange(token, { resource: at, scopes }, { ...alice, issuer });

  test("the user's token for one with fewer scopes", async () => {
    const found = await exchange(["orders:read"]);
    assert.notEqual(found.accessToken, accessToken);
    assert.deepEqual(found.scopes, ["orders:read"]);
    assert.ok(found.expiresAt - found.obtainedAt > 60);
  });

  test("a scope that it does not give, and a token that is none of its own, are refused", async () => {
    const isRefusal = (error: unknown) => error instanceof UpstreamRefusal;
    await assert.rejects(exchange(["orders:delete"]), isRefusal);
    await assert.rejects(exchange(["orders:read"], "alice:grant:made-up"), isRefusal);
  });

  test("another resource is not for this client there: an operator's matter, and no end of a session", async () => {
    await assert.rejects(exchange(["orders:read"], accessToken, "https://other.example.com"), {
      reason: "exchange_misconfigured",
    });
  });

  test("what the company's identity provider asserts, for a token; a second time it is refused", async () => {
    const { clientId, credential, tokenEndpointAuthMethod } = settings;
    const there = createAuthorizationServer(
      { issuer, client: { clientId, credential, tokenEndpointAuthMethod }, timeoutSeconds: 10 },
      runtime,
    );
    const api = { authorizationServer: issuer, resource, scopes: ["orders:read"] };
    const assertion = await signedByCompany({ scope: "orders:read" });
    const found = await there.redeem(assertion, api);
    assert.deepEqual(found.scopes, ["orders:read"]);
    await assert.rejects(there.redeem(assertion, api), { name: "RefusedElsewhere", code: "invalid_grant" });
    await there.revoke(found.accessToken);
  });
});

function listenerOf(answer: (request: Request) => Promise<Response>): RequestListener {
  return async (req: IncomingMessage, res) => {
    const body = req.method === "POST" ? await text(req) : undefined;
    const headers = new Headers(req.headers as Record<string, string>);
    const request = new Request(`http://${req.headers.host}${req.url}`, {
      method: req.method ?? "GET",
      headers,
      ...(body !== undefined && { body }),
    });
    const response = await answer(request);
    res.writeHead(response.status, Object.fromEntries(response.headers.entries()));
    res.end(await response.text());
  };
}
