/**
 * Strangers who name the URLs of metadata documents: what they make us fetch and keep is bounded, and neither they nor a web
 * site that is down keep anybody out who has a grant.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createServer, type Server, type Socket } from "node:net";
import { after, afterEach, before, describe, test } from "node:test";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import type { Answer } from "../../dev/client/http.ts";
import { fetchFrom, type Site, sendJson, startSite } from "../clients/support.ts";
import { eventually } from "../support/eventually.ts";
import {
  authorize,
  authorizeUrl,
  callTool,
  postForm,
  REDIRECT_URI,
  type Registered,
  redeem,
  refresh,
  revoke,
  signInForTokens,
  VERIFIER,
} from "../support/oauth-client.ts";
import { startTestServer, type TestServer, type TestServerOptions } from "../support/test-server.ts";

const DAYS = 86_400;
const MADE_UP = "A".repeat(22 + 43);
const JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

describe("metadata documents", () => {
  let testServer: TestServer;
  let site: Site;
  /** Takes every connection and never says a word. */
  let silence: Server;
  const silenced = new Set<Socket>();
  /** How the site answers for a path. */
  const pages = new Map<string, Site["answer"]>();
  before(async () => {
    site = await startSite((req, res) => {
      const page = pages.get(req.url ?? "");
      if (page !== undefined) page(req, res);
      else res.writeHead(404).end();
    });
    silence = createServer((socket) => {
      silenced.add(socket.on("error", () => {}));
    });
    await new Promise<void>((resolve) => silence.listen(0, "127.0.0.1", resolve));
  });
  afterEach(async () => {
    await testServer.close();
    pages.clear();
    site.requests.length = 0;
  });
  after(async () => {
    for (const socket of silenced) socket.destroy();
    silence.close();
    await site.close();
  });

  async function start(options: TestServerOptions = {}): Promise<void> {
    testServer = await startTestServer({
      safeFetch: (each) => fetchFrom(site.ca, { ...each, timeoutMs: 20_000 }),
      ...options,
      environment: { TRUSTED_PROXIES: "127.0.0.1", ...options.environment },
    });
  }

  type Headers = Record<string, string>;
  function publish(path: string, headers: Headers = {}, more: object = {}): Registered {
    const client = { client_id: site.url(path), client_name: "An app", redirect_uris: [REDIRECT_URI] };
    pages.set(path, (_req, res) => sendJson(res, { ...client, ...more }, headers));
    return client;
  }
  const down: Site["answer"] = (req) => req.socket.destroy();
  const gone: Site["answer"] = (_req, res) => res.writeHead(410).end();
  const asked = (path: string) => site.requests.filter(({ url }) => url === path).length;
  const nowhere = (name: string) => {
    const { port } = silence.address() as { port: number };
    return { client_id: `https://${name}.example:${port}/client.json`, redirect_uris: [] };
  };
  const refreshAt = (baseUrl: string, client: Registered, refresh_token: string): Promise<Answer> =>
    postForm(`${baseUrl}/token`, { grant_type: "refresh_token", refresh_token, client_id: client.client_id });
  const pageFor = (client: Registered, address: string) =>
    fetch(authorizeUrl(testServer.baseUrl, client), {
      headers: { "x-forwarded-for": address, accept: "text/html" },
      redirect: "manual",
    });
  async function storedDocuments(): Promise<number> {
    let count = 0;
    for await (const _ of testServer.records.keys("document:")) count++;
    return count;
  }

  test("nothing is fetched for who presents no token of a live grant, and the answer leads on", async () => {
    await start();
    const real = publish("/real.json");
    const tokens = await signInForTokens(testServer.baseUrl, real);
    const before = site.requests.length;
    for (let i = 0; i < 5; i++) {
      const client = { client_id: site.url(`/made-up-${i}.json`), redirect_uris: [] };
      const refreshed = await refresh(testServer.baseUrl, client, `mcp_rt_${MADE_UP}${"A".repeat(22)}`);
      assert.deepEqual([refreshed.status, refreshed.body.error], [400, "invalid_grant"]);
      const redeemed = await redeem(testServer.baseUrl, client, `mcp_ac_${MADE_UP}`);
      assert.deepEqual([redeemed.status, redeemed.body.error], [400, "invalid_grant"]);
      // Not its own, and so no more than a made-up one.
      const stolen = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.deepEqual([stolen.status, stolen.body.error], [400, "invalid_grant"]);
      assert.equal((await revoke(testServer.baseUrl, client, tokens.refresh_token)).status, 200);
      const introspected = await postForm(`${testServer.baseUrl}/introspect`, {
        token: tokens.access_token,
        client_id: client.client_id,
      });
      assert.deepEqual([introspected.status, introspected.body.error], [401, "invalid_client"]);
    }
    const otherwise = await postForm(`${testServer.baseUrl}/token`, {
      grant_type: "password",
      client_id: site.url("/made-up.json"),
    });
    assert.equal(otherwise.body.error, "unsupported_grant_type");
    const management = `${testServer.baseUrl}/register/${encodeURIComponent(site.url("/made-up.json"))}`;
    assert.equal((await fetch(management, { headers: { authorization: "Bearer x" } })).status, 401);
    assert.equal(site.requests.length, before);
    assert.equal((await refresh(testServer.baseUrl, real, tokens.refresh_token)).status, 200, "still alive");
  });

  test("one address has only so many fetched, and another is none the worse", async () => {
    await start();
    const statuses: number[] = [];
    for (let i = 0; i < 60; i++) {
      const client = { client_id: site.url(`/nothing-${i}.json`), redirect_uris: [] };
      statuses.push((await pageFor(client, "203.0.113.1")).status);
    }
    assert.ok(statuses.filter((status) => status === 400).length <= 42, "of 60");
    assert.equal(statuses.at(-1), 429);
    assert.equal((await pageFor(publish("/first.json"), "203.0.113.2")).status, 200);
  });

  test("web sites that never answer, asked for from everywhere, keep no client out that has grants", async () => {
    await start();
    // Asked for anew at each use: the worst case.
    const client = publish("/always.json", { "cache-control": "max-age=0, must-revalidate" });
    let { refresh_token } = await signInForTokens(testServer.baseUrl, client);
    const held = Array.from({ length: 60 }, (_, i) =>
      pageFor(nowhere(`slow-${i}`), `203.0.113.${i % 20}`).then(({ status }) => status),
    );
    const full = await Promise.race(held);
    assert.equal(full, 503, "no place is left for strangers");
    for (let i = 0; i < 5; i++) {
      const refreshed = await refresh(testServer.baseUrl, client, refresh_token);
      assert.equal(refreshed.status, 200);
      refresh_token = refreshed.body.refresh_token;
      assert.equal((await pageFor(client, "198.51.100.1")).status, 200, "the consent page, too");
    }
    for (const socket of silenced) socket.destroy();
    await Promise.all(held);
  });

  for (const [what, headers] of [
    ["a document that says nothing", {}],
    ["one that must be revalidated", { "cache-control": "public, max-age=0, must-revalidate" }],
    ["one that no cache may store", { "cache-control": "no-store" }],
  ] as const)
    test(`a web site that is down signs nobody out, on no replica and after no restart: ${what}`, async () => {
      await start();
      const path = "/down.json";
      const client = publish(path, headers);
      const { refresh_token } = await signInForTokens(testServer.baseUrl, client);
      pages.set(path, down);
      testServer.clock.ahead += 3 * DAYS; // longer than HTTP lets a stale copy serve
      const restarted = await testServer.replica();
      const first = await refreshAt(restarted, client, refresh_token);
      assert.equal(first.status, 200, JSON.stringify(first.body));
      const second = await refreshAt(testServer.baseUrl, client, first.body.refresh_token);
      assert.equal(second.status, 200);
      const another = await testServer.replica();
      pages.set(path, gone);
      const third = await refreshAt(another, client, second.body.refresh_token);
      assert.deepEqual([third.status, third.body.error], [401, "invalid_client"], "taken back");
      pages.set(path, down);
      assert.equal((await refreshAt(another, client, second.body.refresh_token)).status, 503, "and its copy");
    });

  test("a sign-in that is on its way is finished although the web site goes down, on another replica", async () => {
    await start();
    const client = publish("/leaving.json", { "cache-control": "max-age=0" });
    const code = (await authorize(testServer.baseUrl, client)).get("code") ?? "";
    pages.set("/leaving.json", down);
    const elsewhere = await testServer.replica();
    const redeemed = await redeem(elsewhere, client, code);
    assert.equal(redeemed.status, 200, JSON.stringify(redeemed.body));
  });

  test("what is stored belongs to clients with grants, is small, and ends", async () => {
    await start({ environment: { CLIENT_SECONDS: String(40 * DAYS) } });
    for (let i = 0; i < 10; i++)
      assert.equal((await pageFor(publish(`/looked-at-${i}.json`), "203.0.113.3")).status, 200);
    assert.equal(await storedDocuments(), 0, "looking stores nothing");
    const puts: Array<{ key: string; bytes: number; seconds: number }> = [];
    const { put } = testServer.records;
    testServer.records.put = (key, record, seconds) => {
      puts.push({ key, bytes: record.length, seconds });
      return put(key, record, seconds);
    };
    const client = publish("/large.json", { "cache-control": "max-age=60" }, { padding: "x".repeat(4_500) });
    let { refresh_token } = await signInForTokens(testServer.baseUrl, client);
    assert.equal(await storedDocuments(), 1);
    const ofDocument = puts.filter(({ key }) => key.startsWith("document:"));
    assert.equal(ofDocument.length, 1, "one write for one client");
    assert.ok(ofDocument.every(({ bytes, seconds }) => bytes < 9_000 && seconds <= 40 * DAYS));
    for (let i = 0; i < 5; i++) {
      refresh_token = (await refresh(testServer.baseUrl, client, refresh_token)).body.refresh_token;
      assert.equal((await pageFor(client, "203.0.113.4")).status, 200);
    }
    assert.equal(puts.filter(({ key }) => key.startsWith("document:")).length, 1, "its use costs no writes");
  });

  test("one address has only so many stored, whoever signs in there", async () => {
    await start();
    for (let i = 0; i < 60; i++)
      await testServer.records.rateLimits.count(
        { name: "stored_documents_of_address", points: 50, seconds: DAYS },
        "127.0.0.1",
      );
    for (const path of ["/one-more.json", "/two-more.json", "/three-more.json"]) {
      const client = publish(path, { "cache-control": "max-age=600" });
      const { refresh_token } = await signInForTokens(testServer.baseUrl, client);
      assert.equal(
        (await refresh(testServer.baseUrl, client, refresh_token)).status,
        200,
        "and works all the same",
      );
    }
    // Two may be given away without counting.
    assert.ok((await storedDocuments()) <= 2);
    assert.ok(testServer.log.some(({ reason }) => reason === "document_not_stored"));
  });

  test("a refresh token that was replaced long ago still ends its family, with no copy at hand", async () => {
    await start({ environment: { REFRESH_GRACE_SECONDS: "0" } });
    const client = publish("/reused.json");
    const first = await signInForTokens(testServer.baseUrl, client);
    const second = (await refresh(testServer.baseUrl, client, first.refresh_token)).body;
    testServer.clock.ahead += 10;
    for await (const key of testServer.records.keys("document:")) await testServer.records.delete(key);
    const elsewhere = await testServer.replica();
    const reused = await refreshAt(elsewhere, client, first.refresh_token);
    assert.deepEqual([reused.status, reused.body.error], [400, "invalid_grant"]);
    const after = await refresh(testServer.baseUrl, client, second.refresh_token);
    assert.equal(after.body.error, "invalid_grant", "the thief's and the client's");
    assert.equal((await callTool(testServer.url, second.access_token, "whoami")).status, 401);
  });

  test("key sets at a jwks_uri have the same limits", async () => {
    await start();
    const { privateKey, publicKey } = await generateKeyPair("ES256");
    const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: "1", x5c: ["x".repeat(8_000)] }] };
    pages.set("/jwks", (_req, res) => sendJson(res, jwks, { "cache-control": "max-age=60" }));
    const jwks_uri = site.url("/jwks");
    const client = publish("/signing.json", {}, { token_endpoint_auth_method: "private_key_jwt", jwks_uri });
    const asserted = async (baseUrl: string, parameters: Record<string, string>): Promise<Answer> =>
      await postForm(`${baseUrl}/token`, {
        ...parameters,
        client_assertion_type: JWT_BEARER,
        client_assertion: await new SignJWT({ jti: randomUUID() })
          .setProtectedHeader({ alg: "ES256", kid: "1" })
          .setIssuer(client.client_id)
          .setSubject(client.client_id)
          .setAudience(testServer.baseUrl)
          .setExpirationTime(Math.floor(Date.now() / 1000) + testServer.clock.ahead + 120)
          .sign(privateKey),
      });
    const code = (await authorize(testServer.baseUrl, client)).get("code") ?? "";
    const grant_type = "refresh_token";
    const dead = { grant_type, refresh_token: `mcp_rt_${MADE_UP}${"A".repeat(22)}` };
    assert.equal((await asserted(testServer.baseUrl, dead)).body.error, "invalid_grant");
    assert.equal(asked("/jwks"), 0, "not for a token of nobody");

    const tokens = await asserted(testServer.baseUrl, {
      grant_type: "authorization_code",
      code,
      code_verifier: VERIFIER,
    });
    assert.equal(tokens.status, 200, JSON.stringify(tokens.body));
    assert.equal(asked("/jwks"), 1);
    await eventually("the key set to be stored", async () => {
      for await (const _ of testServer.records.keys("key-set:")) return true;
      return false;
    });
    pages.set("/jwks", down);
    pages.set("/signing.json", down);
    testServer.clock.ahead += 3 * DAYS;
    const restarted = await testServer.replica();
    const { refresh_token } = tokens.body;
    const refreshed = await asserted(restarted, { grant_type, refresh_token });
    assert.equal(refreshed.status, 200, JSON.stringify(refreshed.body));
  });
});
