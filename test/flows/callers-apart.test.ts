/** Machines, and people whom a company vouches for, beside people who sign in by browser under the same name. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, describe, test } from "node:test";
import { SignJWT } from "jose";
import type { IdJagIssuer } from "../../src/issuers/trusted-issuer.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { getUpstreamAccessToken } from "../../src/resource/access-token-context.ts";
import { adminOf, jsonLines } from "../admin/support.ts";
import { reasonOf } from "../attacks/support.ts";
import { fetchFrom, sendJson, startSite } from "../clients/support.ts";
import { endEntry, entriesOn, openConnections } from "../support/connections.ts";
import { eventually } from "../support/eventually.ts";
import {
  callTool,
  getJson,
  newBrowser,
  postForm,
  register,
  signInForTokens,
} from "../support/oauth-client.ts";
import { redisForTests } from "../support/redis.ts";
import { useTestServer } from "../support/test-server.ts";
import { idJagIssuer, newKey, startTokenIssuer } from "../support/token-issuer.ts";

const SECRET = "the-secret-of-a-machine-0123456789abcdef";
const JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const company = await startTokenIssuer({ after });
const key = await newKey();
const { d: _private, ...publicKey } = key.jwk;
const redis = await redisForTests();
after(() => redis.stop());

// Called like a person who signs in, and like what that person is to the provider.
const MACHINE = {
  client_id: "alice",
  client_name: "Nightly report",
  client_secret: SECRET,
  grant_types: ["client_credentials"],
  scope: "weather:read",
};
const APP = {
  client_id: "app",
  client_name: "App",
  client_secret: SECRET,
  redirect_uris: ["https://app.example/cb"],
};
const CLIENTS = JSON.stringify([MACHINE, APP]);

const upstream = defineTool({
  name: "upstream",
  description: "Asks for the caller's token at the identity provider",
  run: () => getUpstreamAccessToken(),
});

const trusted = (changes: Partial<IdJagIssuer> = {}) => idJagIssuer(company, changes);

const site = await startSite((_req, res) =>
  sendJson(res, {
    client_id: site.url("/client.json"),
    client_name: "Document client",
    redirect_uris: ["https://app.example/cb"],
    token_endpoint_auth_method: "private_key_jwt",
    jwks: { keys: [publicKey] },
  }),
);
after(() => site.close());

describe("callers without a browser", { skip: redis.skip }, () => {
  const testServer = useTestServer({
    redisUrl: redis.url ?? "",
    tools: [upstream],
    environment: { CLIENTS },
    safeFetch: (options) => fetchFrom(site.ca, options),
    adjust: (config) => ({
      ...config,
      issuers: [
        trusted(),
        // Signs people in as well.
        trusted({ issuer: config.identityProviders[0].issuer, jwksUri: `${company.issuer}/keys` }),
        {
          ...trusted(),
          accept: "access-token",
          types: ["at+jwt"],
          scopeClaims: ["scope"],
          scopes: new Map([["read", ["weather:read"]]]),
        },
      ],
    }),
  });
  const ask = (fields: Record<string, string>) => postForm(`${testServer.baseUrl}/token`, fields);
  const isAlive = async (token: string) => (await callTool(testServer.url, token, "whoami")).status === 200;
  const machinesToken = async (): Promise<string> =>
    (await ask({ grant_type: "client_credentials", client_id: "alice", client_secret: SECRET })).body
      .access_token;
  const assertion = (claims: Record<string, unknown> = {}) =>
    company.sign(
      { aud: testServer.baseUrl, sub: "alice", client_id: "app", ...claims },
      { typ: "oauth-id-jag+jwt" },
    );
  const present = (text: string) =>
    ask({ grant_type: JWT_BEARER, client_id: "app", client_secret: SECRET, assertion: text });
  const ofProvider = () => assertion({ iss: testServer.config.identityProviders[0].issuer });

  test("a machine is nobody: the person of its name neither sees nor ends what it has", async () => {
    const machine = await machinesToken();
    const client = await register(testServer.baseUrl, { client_name: "Editor" });
    const { access_token: persons } = await signInForTokens(testServer.baseUrl, client);
    const browser = newBrowser();
    const page = await openConnections(testServer.baseUrl, { browser });
    assert.deepEqual(
      entriesOn(page).map(({ name }) => name),
      ["Editor"],
    );
    await endEntry(browser, page, "Editor");
    assert.deepEqual([await isAlive(persons), await isAlive(machine)], [false, true]);
  });

  test("a machine has no token at the identity provider, and its tool is told why", async () => {
    const { body } = await callTool(testServer.url, await machinesToken(), "upstream");
    assert.match(JSON.stringify(body), /This needs a user who signed in at the identity provider/);
  });

  test("a machine's token is in the audit log, by its client and as no person's", async () => {
    await machinesToken();
    const line = testServer.log.findLast(({ audit }) => audit === "token_issued");
    assert.deepEqual([line?.principalKind, line?.subject, line?.clientId], ["client", "alice", "alice"]);
  });

  test("a machine's grant is listed by npm run admin, and ended by its client, not as a person's", async () => {
    const machine = await machinesToken();
    const { issuer } = testServer.config.identityProviders[0];
    const { store } = testServer.config;
    const admin = adminOf({
      baseUrl: testServer.baseUrl,
      redis: redis as never,
      upstream: { port: 0 } as never,
    });
    const settings = {
      CLIENTS,
      OIDC_ISSUER: issuer,
      REDIS_KEY_PREFIX: store.kind === "redis" ? store.keyPrefix : "",
    };
    const list = async (...args: string[]) =>
      jsonLines((await admin(["grants", "list", "--json", ...args], settings)).stdout);
    const id = (await testServer.grantOf(machine))?.id;
    assert.ok((await list()).some((grant) => grant.id === id && grant.subject === "alice"));
    assert.ok((await list("--user", "alice")).every((grant) => grant.id !== id));
    await admin(["grants", "revoke", "--client", "alice", "--yes"], settings);
    await eventually("it is refused", async () => !(await isAlive(machine)));
  });

  test("a person of a company is somebody else than who signs in at another issuer under that name", async () => {
    const { body } = await present(await assertion());
    const page = await openConnections(testServer.baseUrl);
    assert.ok(entriesOn(page).every(({ name }) => name !== "App"));
    assert.ok(await isAlive(body.access_token));
    assert.ok(body.expires_in <= 3_600);
  });

  test("a sign-out that the provider reports ends what it vouched for, and nothing of another issuer", async () => {
    const [ofOurs, ofCompany] = [await present(await ofProvider()), await present(await assertion())];
    assert.ok(await isAlive(ofOurs.body.access_token));
    const browser = newBrowser();
    await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl), { browser });
    const { issuer } = testServer.identityProvider;
    const { end_session_endpoint } = await getJson(`${issuer}/.well-known/openid-configuration`);
    await browser.submit(await browser.get(end_session_endpoint), { logout: "yes" });
    await eventually("it has ended", async () => !(await isAlive(ofOurs.body.access_token)));
    assert.ok(await isAlive(ofCompany.body.access_token));
  });

  test("an assertion whose use cannot be written down is not accepted: 503, and it is good afterwards", async () => {
    const { replace } = testServer.records;
    const text = await assertion();
    testServer.records.replace = async (storeKey, ...rest) => {
      if (storeKey.startsWith("assertion:"))
        throw new UnavailableError("storage", { reason: "redis_unavailable", retryAfterSeconds: 1 });
      return replace(storeKey, ...rest);
    };
    try {
      const { status, body } = await present(text);
      assert.deepEqual([status, body.access_token], [503, undefined]);
    } finally {
      testServer.records.replace = replace;
    }
    assert.equal((await present(text)).status, 200);
  });

  test("a client with a metadata document presents an assertion, and signs that it is the client", async () => {
    const client_id = site.url("/client.json");
    const request = async (signedBy = key) => ({
      grant_type: JWT_BEARER,
      client_id,
      assertion: await assertion({ client_id }),
      client_assertion_type: CLIENT_ASSERTION,
      client_assertion: await new SignJWT({
        iss: client_id,
        sub: client_id,
        aud: testServer.baseUrl,
        jti: randomUUID(),
      })
        .setProtectedHeader({ alg: key.alg, kid: key.kid })
        .setExpirationTime("2m")
        .sign(signedBy.privateKey),
    });
    const { status, body } = await ask(await request());
    assert.equal(status, 200, JSON.stringify(body));
    const forged = await ask(await request(await newKey()));
    assert.deepEqual([forged.status, await reasonOf(testServer, forged)], [401, "assertion_signature"]);
    const { client_assertion: _a, client_assertion_type: _t, ...unsigned } = await request();
    assert.equal((await ask(unsigned)).status, 401);
  });

  test("the resource names this server alone as its authorization server, whoever else is trusted", async () => {
    const metadata = await getJson(`${testServer.baseUrl}/.well-known/oauth-protected-resource/mcp`);
    assert.deepEqual(metadata.authorization_servers, [testServer.baseUrl]);
    const { headers } = await callTool(testServer.url, "no.token.ofanybody", "whoami");
    assert.ok(!JSON.stringify([metadata, [...headers]]).includes(company.issuer));
  });
});
