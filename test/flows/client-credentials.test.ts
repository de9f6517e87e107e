/** Machines: a configured client gets an access token for itself, with a secret or a signature (RFC 6749 §4.4, RFC 7523). */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test } from "node:test";
import { SignJWT } from "jose";
import { allowEverything, type Policy } from "../../src/access/policy.ts";
import { reasonOf } from "../attacks/support.ts";
import { callTool, getJson, postForm, postJson, toolNames } from "../support/oauth-client.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";
import { newKey } from "../support/token-issuer.ts";

const SECRET = "the-secret-of-a-machine-0123456789abcdef";
const OTHER = "another-secret-of-the-machine-0123456789";
const JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const key = await newKey();
const { d: _private, ...publicKey } = key.jwk;

const MACHINE = {
  client_id: "nightly",
  client_name: "Nightly report",
  client_secret: [SECRET, OTHER],
  grant_types: ["client_credentials"],
  scope: "weather:read",
};
const SIGNING = {
  client_id: "signing",
  jwks: { keys: [publicKey] },
  grant_types: ["client_credentials"],
  scope: "weather:read",
};
const NO_CEILING = { ...MACHINE, client_id: "no-ceiling", scope: undefined };
const PERSON = { client_id: "person", client_secret: SECRET, redirect_uris: ["https://a.example/cb"] };
const CLIENTS = JSON.stringify([MACHINE, SIGNING, NO_CEILING, PERSON]);

describe("client credentials", () => {
  const testServer = useTestServer({ environment: { CLIENTS, CLIENT_ID_METADATA: "off" } });

  function ask(fields: Record<string, string> = {}, authorization?: string) {
    return postForm(
      `${testServer.baseUrl}/token`,
      { grant_type: "client_credentials", ...fields },
      authorization === undefined ? {} : { authorization },
    );
  }
  const post = { client_id: "nightly", client_secret: SECRET };
  const basic = (id: string, secret: string) => `Basic ${btoa(`${id}:${secret}`)}`;

  function assertion(claims: Record<string, unknown> = {}) {
    const now = Math.floor(Date.now() / 1000) + testServer.clock.ahead;
    const payload = { iss: "signing", sub: "signing", aud: testServer.baseUrl, jti: randomUUID(), ...claims };
    return new SignJWT({ iat: now, exp: now + 60, ...payload })
      .setProtectedHeader({ alg: key.alg, kid: key.kid })
      .sign(key.privateKey);
  }

  test("are in the metadata, with the ways in which clients prove who they are", async () => {
    const metadata = await getJson(`${testServer.baseUrl}/.well-known/oauth-authorization-server`);
    assert.ok(metadata.grant_types_supported.includes("client_credentials"));
    assert.ok(metadata.token_endpoint_auth_methods_supported.includes("private_key_jwt"));
    assert.ok(metadata.token_endpoint_auth_signing_alg_values_supported.includes("ES256"));
  });

  for (const [way, request] of Object.entries({
    "a secret in the body": () => ask(post),
    "a secret in the header": () => ask({}, basic("nightly", SECRET)),
    "the other of two secrets": () => ask({ ...post, client_secret: OTHER }),
    "a signature": async () =>
      ask({ client_assertion: await assertion(), client_assertion_type: JWT_BEARER }),
  }))
    test(`give an access token for ${way}, and no refresh token`, async () => {
      const { status, body } = await request();
      assert.equal(status, 200, JSON.stringify(body));
      assert.deepEqual(Object.keys(body).sort(), ["access_token", "expires_in", "scope", "token_type"]);
      assert.equal(body.scope, "weather:read");
      assert.equal((await callTool(testServer.url, body.access_token, "whoami")).status, 200);
    });

  test("tell a tool who is calling, and that nobody signed in", async () => {
    const { body } = await ask(post);
    const answer = await callTool(testServer.url, body.access_token, "whoami");
    const said = JSON.stringify(answer.body);
    assert.match(said, /"kind":"client"/);
    assert.match(said, /"subject":"nightly"/);
    assert.ok((await toolNames(testServer.url, body.access_token)).includes("current_weather"));
  });

  test("are for the resource that is named, and for none that is not here", async () => {
    assert.equal((await ask({ ...post, resource: testServer.url })).status, 200);
    const foreign = await ask({ ...post, resource: "https://other.example.com/mcp" });
    assert.deepEqual([foreign.status, foreign.body.error], [400, "invalid_target"]);
  });

  test("never exceed the scopes that the operator gave", async () => {
    const wider = await ask({ ...post, scope: "weather:read weather:write" });
    assert.equal(wider.body.scope, "weather:read");
    const beyond = await ask({ ...post, scope: "weather:write" });
    assert.deepEqual([beyond.status, beyond.body.error], [400, "invalid_scope"]);
    const none = await ask({ client_id: "no-ceiling", client_secret: SECRET });
    assert.deepEqual([none.status, none.body.scope], [200, ""]);
    const asked = await ask({ client_id: "no-ceiling", client_secret: SECRET, scope: "weather:read" });
    assert.equal(asked.body.error, "invalid_scope");
  });

  test("are refused to clients that may not have them", async () => {
    const person = await ask({ client_id: "person", client_secret: SECRET });
    assert.deepEqual([person.status, person.body.error], [400, "unauthorized_client"]);
    const registered = await postJson(`${testServer.baseUrl}/register`, {
      redirect_uris: ["https://a.example/cb"],
      grant_types: ["authorization_code", "client_credentials"],
      token_endpoint_auth_method: "client_secret_post",
    });
    assert.deepEqual(registered.body.grant_types, ["authorization_code"]);
    const { client_id, client_secret } = registered.body;
    const stranger = await ask({ client_id, client_secret });
    assert.deepEqual([stranger.status, stranger.body.error], [400, "unauthorized_client"]);
  });

  for (const [what, fields] of Object.entries({
    "no secret": { client_id: "nightly" },
    "a wrong secret": { ...post, client_secret: "wrong".repeat(10) },
    "the hash of a secret": { ...post, client_secret: "" },
    "no client": {},
    "another client's secret": { client_id: "signing", client_secret: SECRET },
  }))
    test(`are refused with ${what}`, async () => {
      const { status, body } = await ask(fields);
      assert.deepEqual([status, body.error], [401, "invalid_client"]);
    });

  test("take an assertion once, for this server alone", async () => {
    const send = async (client_assertion: string) =>
      ask({ client_assertion, client_assertion_type: JWT_BEARER });
    const used = await assertion();
    assert.equal((await send(used)).status, 200);
    assert.equal((await send(used)).status, 401);
    for (const aud of [`${testServer.baseUrl}/`, `${testServer.baseUrl}/token`, [testServer.baseUrl]])
      assert.equal((await send(await assertion({ aud }))).status, 200, String(aud));
    for (const aud of ["https://other.example.com", [testServer.baseUrl, `${testServer.baseUrl}/token`], []])
      assert.equal((await send(await assertion({ aud }))).status, 401, String(aud));
  });

  test("give a token that ends with its time", async () => {
    const { body } = await ask(post);
    testServer.clock.ahead += body.expires_in + 1;
    assert.equal((await callTool(testServer.url, body.access_token, "whoami")).status, 401);
  });

  test("give a token that can be introspected and revoked", async () => {
    const { body } = await ask(post);
    const about = (path: string) =>
      postForm(`${testServer.baseUrl}/${path}`, { token: body.access_token, ...post });
    const { active, sub, client_id, scope } = (await about("introspect")).body;
    assert.deepEqual([active, sub, client_id, scope], [true, "nightly", "nightly", "weather:read"]);
    assert.equal((await about("revoke")).status, 200);
    assert.equal((await callTool(testServer.url, body.access_token, "whoami")).status, 401);
  });

  test("cannot be used to sign in", async () => {
    const url = new URL(`${testServer.baseUrl}/authorize`);
    url.search = String(new URLSearchParams({ client_id: "nightly", response_type: "code" }));
    assert.equal((await fetch(url, { redirect: "manual" })).status, 400);
  });
});

describe("the policy", () => {
  const policy: Policy = {
    ...allowEverything,
    at: () => policy,
    admits: ({ client }) =>
      client.id === "signing" ? { allowed: false, rule: { name: "no signing" } } : { allowed: true },
    scope: (_requester, scope) =>
      scope === "weather:read" ? { allowed: false, rule: { name: "no weather" } } : { allowed: true },
  };
  const testServer = useTestServer({
    environment: {
      CLIENTS: JSON.stringify([MACHINE, { ...MACHINE, client_id: "signing" }]),
      CLIENT_ID_METADATA: "off",
    },
    policy,
  });
  const ask = (client_id: string) =>
    postForm(`${testServer.baseUrl}/token`, {
      grant_type: "client_credentials",
      client_id,
      client_secret: SECRET,
    });

  test("refuses a machine, and takes scopes from another", async () => {
    const refused = await ask("signing");
    assert.deepEqual([refused.status, refused.body.error], [400, "invalid_grant"]);
    assert.equal(await reasonOf(testServer, refused), "denied_by_policy");
    const without = await ask("nightly");
    assert.deepEqual([without.status, without.body.scope], [200, ""]);
  });
});

test("keys that are out of reach are an outage, and say nothing about the machine", async (t) => {
  const unreachable = { ...SIGNING, jwks: undefined, jwks_uri: "http://localhost:9/keys" };
  const testServer = await startTestServer({ environment: { CLIENTS: JSON.stringify([unreachable]) } });
  t.after(() => testServer.close());
  const claims = { iss: "signing", sub: "signing", aud: testServer.baseUrl, jti: randomUUID() };
  const client_assertion = await new SignJWT({ ...claims, exp: Math.floor(Date.now() / 1000) + 60 })
    .setProtectedHeader({ alg: key.alg, kid: key.kid })
    .sign(key.privateKey);
  const { status } = await postForm(`${testServer.baseUrl}/token`, {
    grant_type: "client_credentials",
    client_assertion,
    client_assertion_type: JWT_BEARER,
  });
  assert.equal(status, 503);
});

describe("a machine's token", () => {
  const testServer = useTestServer({ environment: { CLIENTS, CLIENT_ID_METADATA: "off" } });

  for (const [what, clients] of Object.entries({
    "its client was removed": [PERSON],
    "its secret was changed": [{ ...MACHINE, client_secret: OTHER }, PERSON],
    "the grant type was taken from its client": [{ ...PERSON, client_id: "nightly" }, PERSON],
  }))
    test(`is refused, and not active when introspected, after ${what}`, async () => {
      const fields = { grant_type: "client_credentials", client_id: "nightly", client_secret: SECRET };
      const { body } = await postForm(`${testServer.baseUrl}/token`, fields);
      assert.equal((await callTool(testServer.url, body.access_token, "whoami")).status, 200);
      const configured = await testServer.replica({ CLIENTS: JSON.stringify(clients) });
      const refused = await callTool(`${configured}/mcp`, body.access_token, "whoami");
      assert.equal(refused.status, 401);
      assert.equal(await reasonOf(testServer, refused), "client_credentials_removed");
      const asking = { token: body.access_token, client_id: "person", client_secret: SECRET };
      assert.equal((await postForm(`${testServer.baseUrl}/introspect`, asking)).body.active, true);
      assert.deepEqual((await postForm(`${configured}/introspect`, asking)).body, {
        active: false,
      });
    });

  test("is refused after the key that its client signs with was replaced", async () => {
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      iss: "signing",
      sub: "signing",
      aud: testServer.baseUrl,
      jti: randomUUID(),
      exp: now + 60,
    };
    const client_assertion = await new SignJWT(claims)
      .setProtectedHeader({ alg: key.alg, kid: key.kid })
      .sign(key.privateKey);
    const { body } = await postForm(`${testServer.baseUrl}/token`, {
      grant_type: "client_credentials",
      client_assertion,
      client_assertion_type: JWT_BEARER,
    });
    const { d: _, ...newPublicKey } = (await newKey()).jwk;
    const replaced = [{ ...SIGNING, jwks: { keys: [newPublicKey] } }];
    for (const [clients, status] of [
      [[SIGNING], 200],
      [replaced, 401],
    ] as const) {
      const configured = await testServer.replica({ CLIENTS: JSON.stringify(clients) });
      assert.equal((await callTool(`${configured}/mcp`, body.access_token, "whoami")).status, status);
    }
  });

  test("stays good while another secret is added and the first one is kept", async () => {
    const fields = { grant_type: "client_credentials", client_id: "nightly", client_secret: SECRET };
    const { body } = await postForm(`${testServer.baseUrl}/token`, fields);
    const kept = [{ ...MACHINE, client_secret: SECRET }];
    const configured = await testServer.replica({ CLIENTS: JSON.stringify(kept) });
    assert.equal((await callTool(`${configured}/mcp`, body.access_token, "whoami")).status, 200);
  });
});
