/** A client without registration: its client_id is the URL of a document on its own https site. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { fetchFrom, type Site, sendJson, startSite } from "../clients/support.ts";
import {
  authorize,
  authorizeUrl,
  callTool,
  getJson,
  newBrowser,
  postForm,
  REDIRECT_URI,
  redeem,
  refresh,
  revoke,
  VERIFIER,
} from "../support/oauth-client.ts";
import { startTestServer, useTestServer } from "../support/test-server.ts";

describe("a client with a metadata document", () => {
  let site: Site;
  const keys = generateKeyPair("ES256");
  const documents = new Map<string, object>();
  /** Instead of the document. */
  const answers = new Map<string, Site["answer"]>();
  const testServer = useTestServer(async () => {
    site = await startSite((req, res) => {
      const document = documents.get(req.url ?? "");
      const answer = answers.get(req.url ?? "");
      if (answer !== undefined) answer(req, res);
      else if (document === undefined) res.writeHead(404).end();
      else sendJson(res, document);
    });
    return {
      // Only the network is different: names resolve to this computer, whose certificate is trusted.
      safeFetch: (options) => fetchFrom(site.ca, { ...options, timeoutMs: 3_000 }),
      environment: { CLIENT_DOMAINS_DENIED: "denied.example" },
    };
  });
  after(() => site.close());

  function publish(path: string, more: Record<string, unknown> = {}) {
    const client_id = site.url(path);
    documents.set(path, {
      client_id,
      client_name: "Document client",
      redirect_uris: [REDIRECT_URI],
      ...more,
    });
    return { client_id, redirect_uris: [REDIRECT_URI] };
  }

  test("A27 signs in, refreshes and revokes without ever registering, as the server's metadata offer", async () => {
    const metadata = await getJson(`${testServer.baseUrl}/.well-known/oauth-authorization-server`);
    assert.equal(metadata.client_id_metadata_document_supported, true);
    const client = publish("/public.json");
    const page = await newBrowser().get(authorizeUrl(testServer.baseUrl, client));
    assert.match(
      page.body,
      new RegExp(`The web site <strong>${new URL(client.client_id).host}</strong> vouches`),
    );
    const response = await authorize(testServer.baseUrl, client);
    const tokens = (await redeem(testServer.baseUrl, client, response.get("code"))).body;
    const me = (await callTool(testServer.url, tokens.access_token, "whoami")).body.result.structuredContent;
    assert.equal(me.clientId, client.client_id);
    const refreshed = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    assert.equal(refreshed.status, 200);
    assert.equal((await revoke(testServer.baseUrl, client, refreshed.body.refresh_token)).status, 200);
    assert.equal((await callTool(testServer.url, refreshed.body.access_token, "whoami")).status, 401);
  });

  test("proves itself with a signature, once", async () => {
    const { privateKey, publicKey } = await keys;
    const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: "1", alg: "ES256" }] };
    const client = publish("/signing.json", { token_endpoint_auth_method: "private_key_jwt", jwks });
    const assertion = (jti: string) =>
      new SignJWT({ jti })
        .setProtectedHeader({ alg: "ES256", kid: "1" })
        .setIssuer(client.client_id)
        .setSubject(client.client_id)
        .setAudience(testServer.baseUrl)
        .setIssuedAt()
        .setExpirationTime("2m")
        .sign(privateKey);
    const code = (await authorize(testServer.baseUrl, client)).get("code") ?? "";
    const attempt = (client_assertion: string) =>
      postForm(`${testServer.baseUrl}/token`, {
        grant_type: "authorization_code",
        code,
        code_verifier: VERIFIER,
        client_assertion,
        client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
      });
    assert.equal((await redeem(testServer.baseUrl, client, code)).status, 401, "the id alone is not enough");
    const signed = await assertion("first");
    assert.equal((await attempt(signed)).status, 200);
    const replayed = await attempt(signed);
    assert.equal(replayed.status, 401);
    assert.equal(replayed.body.error, "invalid_client");
  });

  test("a document that does not fit gets a page that says why", async () => {
    const mismatch = publish("/mismatch.json", { client_id: "https://somebody.else/" });
    const secret = publish("/secret.json", { client_secret: "x" });
    const missing = { client_id: site.url("/missing.json") };
    const denied = { client_id: "https://denied.example/client.json" };
    const dotted = { client_id: site.url("/a/../public.json") };
    for (const client of [mismatch, secret, missing, denied, dotted]) {
      const page = await newBrowser().get(authorizeUrl(testServer.baseUrl, client));
      assert.equal(page.status, 400);
      assert.match(page.body, /<h1>This application (could not be checked|is not accepted here)<\/h1>/);
      assert.match(page.body, /application|domain/i);
    }
  });

  const asked = (path: string) => site.requests.filter(({ url }) => url === path).length;
  const statusOf = async (client: { client_id: string }) =>
    (await newBrowser().get(authorizeUrl(testServer.baseUrl, client))).status;

  const refused: Array<[string, Site["answer"], string]> = [
    ["redirects", (_req, res) => res.writeHead(302, { location: "/target.json" }).end(), "redirected"],
    [
      "drips",
      (_req, res) => {
        res.writeHead(200, { "content-type": "application/json" });
        const timer = setInterval(() => res.write(" "), 20);
        res.on("close", () => clearInterval(timer));
      },
      "timed_out",
    ],
    ["is too large", (_req, res) => sendJson(res, { padding: "x".repeat(6_000) }), "too_large"],
    [
      "is HTML",
      (_req, res) => res.writeHead(200, { "content-type": "text/html" }).end("{}"),
      "wrong_content_type",
    ],
    [
      "fails, to be kept for an hour",
      (_req, res) => res.writeHead(500, { "cache-control": "max-age=3600" }).end(),
      "bad_status",
    ],
  ];
  for (const [what, answer, reason] of refused)
    test(`a document that ${what} gets a page, and counts as soon as it is right`, async () => {
      const path = `/${reason}.json`;
      const client = publish(path);
      answers.set(path, answer);
      for (const times of [1, 2]) {
        assert.equal(await statusOf(client), 400);
        assert.equal(asked(path), times, "the failure was not remembered");
      }
      assert.ok(testServer.log.some((line) => line.reason === reason));
      assert.equal(asked("/target.json"), 0);
      answers.delete(path);
      assert.equal(await statusOf(client), 200);
    });

  test("a document is kept as long as HTTP says, asked about by its validator, and outlives a failure of its site", async () => {
    const path = "/cached.json";
    const client = publish(path);
    const headers = { "cache-control": "max-age=60", etag: '"1"' };
    answers.set(path, (_req, res) => sendJson(res, documents.get(path), headers));
    for (let i = 0; i < 3; i++) assert.equal(await statusOf(client), 200);
    assert.equal(asked(path), 1);
    testServer.clock.ahead += 61;
    answers.set(path, (req, res) =>
      req.headers["if-none-match"] === '"1"' ? res.writeHead(304, headers).end() : res.writeHead(500).end(),
    );
    for (let i = 0; i < 3; i++) assert.equal(await statusOf(client), 200);
    assert.equal(asked(path), 2);
    testServer.clock.ahead += 61;
    answers.set(path, (_req, res) => res.writeHead(503).end());
    assert.equal(await statusOf(client), 200, "stale, while its site fails");
    answers.set(path, (_req, res) => res.writeHead(410).end());
    testServer.clock.ahead += 61;
    assert.equal(await statusOf(client), 400, "taken back");
  });

  test("a document with no-store is asked for each time, and does not outlive a failure of its site", async () => {
    const path = "/no-store.json";
    const client = publish(path);
    answers.set(path, (_req, res) => sendJson(res, documents.get(path), { "cache-control": "no-store" }));
    for (let i = 0; i < 3; i++) assert.equal(await statusOf(client), 200);
    assert.equal(asked(path), 3);
    answers.set(path, (_req, res) => res.writeHead(503).end());
    assert.equal(await statusOf(client), 400);
  });

  test("an address inside is refused by the rules that production uses", async () => {
    const strict = await startTestServer();
    try {
      for (const host of ["127.0.0.1", "169.254.169.254", "[::1]", "localhost"]) {
        const page = await newBrowser().get(
          authorizeUrl(strict.baseUrl, { client_id: `https://${host}/client.json` }),
        );
        assert.equal(page.status, 400);
        assert.ok(strict.log.some(({ reason }) => reason === "address_refused" || reason === "unreachable"));
      }
    } finally {
      await strict.close();
    }
  });
});
