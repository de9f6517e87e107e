/** Clients that are the URL of a document: which URLs, which documents, and how long a document is believed. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import {
  atTokenEndpoint,
  ClientMetadataError,
  createClientIdMetadata,
  isClientIdUrl,
} from "../../src/clients/metadata-documents/client-id-metadata.ts";
import type { CacheLimits } from "../../src/clients/metadata-documents/document-cache.ts";
import type { DomainPolicy } from "../../src/clients/metadata-documents/domain-policy.ts";
import type { SafeFetchOptions } from "../../src/clients/metadata-documents/safe-fetch.ts";
import { OAuthError, UnavailableError } from "../../src/oauth/errors.ts";
import { redirectUriPolicy } from "../../src/oauth/redirect-uri.ts";
import { fetchFrom, HOST, type Site, STRANGER, sendJson, silent, startSite } from "./support.ts";

let site: Site;
let id: string;
let clock = 1_000_000;
before(async () => {
  site = await startSite();
  id = site.url("/client.json");
});
after(() => site.close());
beforeEach(() => {
  site.requests.length = 0;
  serve(document());
});

const REDIRECT = "https://app.example/callback";
const document = (more: Record<string, unknown> = {}) => ({
  client_id: id,
  client_name: "An app",
  redirect_uris: [REDIRECT],
  ...more,
});

function serve(value: unknown, headers: Record<string, string> = {}): void {
  site.answer = (_req, res) => sendJson(res, value, headers);
}

function fail(status: number): void {
  site.answer = (_req, res) => res.writeHead(status).end();
}

const ANY: DomainPolicy = { allow: "any", deny: [] };

function clients(
  options: { domains?: DomainPolicy; limits?: Partial<CacheLimits>; fetch?: SafeFetchOptions } = {},
) {
  const { find } = createClientIdMetadata({
    fetch: fetchFrom(site.ca, options.fetch),
    domains: options.domains ?? ANY,
    redirectUriPolicy: redirectUriPolicy([]),
    now: () => clock,
    log: silent,
    ...(options.limits && { limits: options.limits }),
  });
  return { find: (clientId: string) => find(clientId, STRANGER) };
}

async function refused(
  promise: Promise<unknown>,
  reason: string,
  text?: RegExp,
): Promise<ClientMetadataError> {
  const error = await promise.then(
    (client) => assert.fail(`it was accepted: ${JSON.stringify(client)}`),
    (thrown) => thrown,
  );
  assert.ok(error instanceof ClientMetadataError, String(error));
  assert.deepEqual([error.code, error.status, error.reason], ["invalid_client", 400, reason]);
  if (text !== undefined) assert.match(error.message, text);
  assert.match(error.message, /^[\x20-\x21\x23-\x5b\x5d-\x7e]*$/, "RFC 6749 §5.2 allows no other characters");
  return error;
}

describe("client_id URLs", () => {
  const table: Record<string, boolean> = {
    "https://app.example/client.json": true,
    "https://app.example/a/b/": true,
    "https://app.example/client?v=1": true,
    "https://app.example:8443/client": true,
    "https://xn--bcher-kva.example/client": true,
    "https://app.example/a..b/...": true,
    "https://app.example/%2Fclient": true,
    "https://app.example": false,
    "https://app.example/": false,
    "https://app.example/?x": false,
    "http://app.example/client.json": false,
    "HTTPS://app.example/client.json": false,
    "https:app.example/client.json": false,
    "https:///app.example/client.json": false,
    "https://App.example/client.json": false,
    "https://app.example:443/client.json": false,
    "https://app.example/client.json#": false,
    "https://app.example/client.json#a": false,
    "https://user@app.example/client.json": false,
    "https://user:pw@app.example/client.json": false,
    "https://@app.example/client.json": false,
    "https://app.example/./client.json": false,
    "https://app.example/a/../client.json": false,
    "https://app.example/a/..": false,
    "https://app.example/a/.": false,
    "https://app.example/a/%2e%2e/client.json": false,
    "https://app.example/a/.%2E/client.json": false,
    "https://app.example/%2e/client.json": false,
    "https://app.example\\client.json": false,
    "https://app.example/client\\..\\x": false,
    "https://app.example/client?a\\b": false,
    "https://app.example/cli ent": false,
    "https://app.example/cli\tent": false,
    " https://app.example/client": false,
    "https://app.example/clïent": false,
    "https://bücher.example/client": false,
    'https://app.example/"client"': false,
    "https://127.1/client": false,
    "https:///client": false,
    "https://": false,
    "urn:example:client": false,
    "0f8fad5bd9cb469f": false,
    "": false,
    [`https://app.example/${"x".repeat(2_048)}`]: false,
  };
  for (const [url, accepted] of Object.entries(table))
    test(`${JSON.stringify(url.slice(0, 60))}: ${accepted}`, () =>
      assert.equal(isClientIdUrl(url), accepted));

  test("another one is refused with a reason, and nothing is fetched", async () => {
    await refused(
      clients().find(`${site.url("/a/../client.json")}`),
      "invalid_client_id_url",
      /dot segments/,
    );
    await refused(clients().find(`http://${HOST}/x`), "invalid_client_id_url", /does not start with https/);
    assert.equal(site.requests.length, 0);
  });
});

describe("documents", () => {
  test("a client is what its document says, after defaults", async () => {
    serve(
      document({
        ...{
          client_uri: site.url("/"),
          logo_uri: site.url("/logo.png"),
          application_type: "web",
          scope: "a b",
        },
        ...{ tos_uri: "not a URL", contacts: "nobody", software_id: null, unknown: { deep: [1] } },
      }),
    );
    assert.deepEqual(await clients().find(id), {
      client_id: id,
      client_id_issued_at: clock,
      usedAt: clock,
      provenance: "document",
      client_name: "An app",
      client_uri: site.url("/"),
      logo_uri: site.url("/logo.png"),
      application_type: "web",
      redirect_uris: [REDIRECT],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
      scope: "a b",
    });
  });

  test("a link and a logo of another host are left out: only its own is verified", async () => {
    for (const uri of ["https://famous.example/", `http://${HOST}/`, "javascript:alert(1)", "nonsense", 7]) {
      serve(document({ client_uri: uri, logo_uri: uri }));
      const client = await clients().find(id);
      assert.deepEqual([client.client_uri, client.logo_uri], [undefined, undefined], String(uri));
    }
  });

  const publicKey = { kty: "EC", crv: "P-256", x: "x", y: "y", kid: "1" };
  const jwks = { keys: [publicKey] };
  const asymmetric = { token_endpoint_auth_method: "private_key_jwt" };
  const bad: Array<[what: string, body: () => unknown, reason: string]> = [
    ["no object", () => [document()], "document_not_an_object"],
    ["null", () => null, "document_not_an_object"],
    [
      "another client_id",
      () => document({ client_id: "https://app.example/client.json" }),
      "client_id_mismatch",
    ],
    [
      "a client_id of another case",
      () => document({ client_id: id.replace("client", "CLIENT") }),
      "client_id_mismatch",
    ],
    ["a client_id with a slash more", () => document({ client_id: `${id}/` }), "client_id_mismatch"],
    ["a list of client_ids", () => document({ client_id: [id] }), "client_id_mismatch"],
    ["no client_id", () => document({ client_id: undefined }), "client_id_mismatch"],
    ["no name", () => document({ client_name: undefined }), "no_client_name"],
    ["an empty name", () => document({ client_name: "  " }), "no_client_name"],
    ["a name that is no text", () => document({ client_name: { en: "x" } }), "no_client_name"],
    ["no redirect URIs", () => document({ redirect_uris: undefined }), "no_redirect_uris"],
    ["an empty list of redirect URIs", () => document({ redirect_uris: [] }), "no_redirect_uris"],
    [
      "a dangerous redirect URI",
      () => document({ redirect_uris: [REDIRECT, "javascript:alert(1)"] }),
      "invalid_redirect_uri",
    ],
    [
      "a plain http redirect URI",
      () => document({ redirect_uris: ["http://app.example/"] }),
      "invalid_redirect_uri",
    ],
    ["a redirect URI that is no text", () => document({ redirect_uris: [7] }), "invalid_redirect_uri"],
    ["a client_secret", () => document({ client_secret: "s" }), "shared_secret"],
    ["an empty client_secret", () => document({ client_secret: "" }), "shared_secret"],
    ["client_secret_expires_at", () => document({ client_secret_expires_at: 0 }), "shared_secret"],
    [
      "client_secret_basic",
      () => document({ token_endpoint_auth_method: "client_secret_basic" }),
      "shared_secret",
    ],
    [
      "client_secret_post",
      () => document({ token_endpoint_auth_method: "client_secret_post" }),
      "shared_secret",
    ],
    [
      "client_secret_jwt",
      () => document({ token_endpoint_auth_method: "client_secret_jwt" }),
      "shared_secret",
    ],
    [
      "tls_client_auth",
      () => document({ token_endpoint_auth_method: "tls_client_auth" }),
      "unsupported_auth_method",
    ],
    [
      "a list of methods",
      () => document({ token_endpoint_auth_method: ["none"] }),
      "unsupported_auth_method",
    ],
    ["private_key_jwt without keys", () => document(asymmetric), "no_keys"],
    [
      "both jwks and jwks_uri",
      () => document({ ...asymmetric, jwks, jwks_uri: site.url("/jwks") }),
      "two_key_sources",
    ],
    [
      "a private key",
      () => document({ ...asymmetric, jwks: { keys: [{ ...publicKey, d: "d" }] } }),
      "invalid_jwks",
    ],
    [
      "a private key it does not use",
      () => document({ jwks: { keys: [{ ...publicKey, d: "d" }] } }),
      "invalid_jwks",
    ],
    [
      "a symmetric key",
      () => document({ ...asymmetric, jwks: { keys: [{ kty: "oct", k: "a" }] } }),
      "invalid_jwks",
    ],
    ["an empty key set", () => document({ ...asymmetric, jwks: { keys: [] } }), "invalid_jwks"],
    ["keys that are no key set", () => document({ ...asymmetric, jwks: [publicKey] }), "invalid_jwks"],
    [
      "a jwks_uri on http",
      () => document({ ...asymmetric, jwks_uri: "http://app.example/jwks" }),
      "invalid_jwks_uri",
    ],
    ["a jwks_uri that is no URL", () => document({ ...asymmetric, jwks_uri: "jwks" }), "invalid_jwks_uri"],
    [
      "HS256",
      () => document({ ...asymmetric, jwks, token_endpoint_auth_signing_alg: "HS256" }),
      "unsupported_signing_alg",
    ],
    [
      "alg none",
      () => document({ ...asymmetric, jwks, token_endpoint_auth_signing_alg: "none" }),
      "unsupported_signing_alg",
    ],
    [
      "no authorization code grant",
      () => document({ grant_types: ["client_credentials"] }),
      "unsupported_grant_type",
    ],
  ];
  for (const [what, body, reason] of bad)
    test(`${what}: ${reason}; at the token endpoint 401`, async () => {
      serve(body());
      const error = await refused(
        clients().find(id),
        reason,
        /^The application's metadata document at https:.*\.$/,
      );
      assert.equal(error.temporary, false);
      const answer = atTokenEndpoint(error);
      assert.ok(answer instanceof OAuthError && answer.status === 401 && answer.code === "invalid_client");
    });

  test("what is not JSON is refused", async () => {
    site.answer = (_req, res) => res.writeHead(200, { "content-type": "application/json" }).end("<html>");
    await refused(clients().find(id), "document_not_an_object", /it is not a JSON object\.$/);
  });

  test("public keys are kept with the client", async () => {
    serve(document({ ...asymmetric, jwks, token_endpoint_auth_signing_alg: "ES256" }));
    const client = await clients().find(id);
    assert.deepEqual(client.jwks, jwks);
    assert.deepEqual(
      [client.token_endpoint_auth_method, client.token_endpoint_auth_signing_alg],
      ["private_key_jwt", "ES256"],
    );
    serve(document({ ...asymmetric, jwks_uri: "https://keys.example/jwks" }));
    assert.equal((await clients().find(id)).jwks_uri, "https://keys.example/jwks");
  });

  test("the operator's redirect URI policy applies", async () => {
    const { find } = createClientIdMetadata({
      ...{ fetch: fetchFrom(site.ca), domains: ANY, now: () => clock, log: silent },
      redirectUriPolicy: redirectUriPolicy([(uri) => uri.startsWith("https://other.example/")]),
    });
    await refused(find(id, STRANGER), "invalid_redirect_uri");
  });
});

describe("domains", () => {
  test("a client of a denied or not allowed domain is refused, and nothing is fetched", async () => {
    await refused(
      clients({ domains: { allow: "any", deny: [HOST] } }).find(id),
      "domain_denied",
      /app\.example/,
    );
    await refused(
      clients({ domains: { allow: ["other.example"], deny: [] } }).find(id),
      "domain_not_allowed",
    );
    assert.equal(site.requests.length, 0);
    assert.equal((await clients({ domains: { allow: [HOST], deny: [] } }).find(id)).client_id, id);
  });
});

describe("fetching", () => {
  const failures: Array<[what: string, answer: Site["answer"], reason: string, temporary: boolean]> = [
    ["a redirect", (_req, res) => res.writeHead(302, { location: id }).end(), "redirected", true],
    ["500", (_req, res) => res.writeHead(500).end(), "bad_status", true],
    ["403", (_req, res) => res.writeHead(403).end(), "bad_status", true],
    ["404", (_req, res) => res.writeHead(404).end(), "bad_status", false],
    ["410", (_req, res) => res.writeHead(410).end(), "bad_status", false],
    [
      "HTML",
      (_req, res) => res.writeHead(200, { "content-type": "text/html" }).end("{}"),
      "wrong_content_type",
      true,
    ],
    ["6 KB", (_req, res) => sendJson(res, document({ padding: "x".repeat(6_000) })), "too_large", true],
    ["a reset", (req) => req.socket.destroy(), "unreachable", true],
  ];
  for (const [what, answer, reason, temporary] of failures)
    test(`${what}: ${reason}; at the token endpoint ${temporary ? 503 : 401}`, async () => {
      site.answer = answer;
      const error = await refused(
        clients().find(id),
        reason,
        /^The application's metadata document at https:/,
      );
      const atToken = atTokenEndpoint(error);
      assert.equal((atToken as OAuthError).status, temporary ? 503 : 401);
      assert.equal(atToken instanceof UnavailableError, temporary);
    });

  test("a name that resolves inside and one that does not resolve look the same from outside", async () => {
    const inside = clients({ fetch: { isAllowedAddress: () => false } });
    const nowhere = clients({ fetch: { lookup: async () => Promise.reject(new Error("ENOTFOUND")) } });
    const [one, other] = [
      await refused(inside.find(id), "unreachable"),
      await refused(nowhere.find(id), "unreachable"),
    ];
    assert.equal(one.message, other.message);
  });

  test("concurrent look-ups of one client share one fetch", async () => {
    site.answer = (_req, res) =>
      void delay(50).then(() => sendJson(res, document(), { "cache-control": "no-store" }));
    const { find } = clients();
    const found = await Promise.all(Array.from({ length: 10 }, () => find(id)));
    assert.equal(new Set(found.map((client) => client.client_name)).size, 1);
    assert.equal(site.requests.length, 1);
    site.answer = (_req, res) => void delay(50).then(() => res.writeHead(500).end());
    const results = await Promise.allSettled(Array.from({ length: 10 }, () => find(id)));
    assert.ok(results.every(({ status }) => status === "rejected"));
    assert.equal(site.requests.length, 2);
  });

  test("no more than so many at a time: the next one is told to come again", async () => {
    const held: Array<() => void> = [];
    site.answer = (req, res) =>
      held.push(() => sendJson(res, document({ client_id: site.url(req.url ?? "") })));
    const { find } = clients({ limits: { maxFetches: 3 } });
    const underWay = [1, 2, 3].map((n) => find(site.url(`/${n}`)));
    while (held.length < 3) await delay(5);
    await assert.rejects(find(site.url("/4")), (error) => {
      assert.ok(error instanceof UnavailableError);
      assert.deepEqual([error.status, error.reason], [503, "too_many_fetches"]);
      return true;
    });
    for (const release of held.splice(0)) release();
    await Promise.all(underWay);
    const next = find(site.url("/4"));
    while (held.length < 1) await delay(5);
    held[0]?.();
    await next;
  });
});

describe("caching", () => {
  const DAY = 86_400;
  let found: (name?: string) => Promise<void>;
  beforeEach(() => {
    const { find } = clients();
    found = async (name = "An app") => assert.equal((await find(id)).client_name, name);
  });
  const fetches = (expected: number) => assert.equal(site.requests.length, expected);

  const lifetimes: Array<[what: string, headers: Record<string, string>, seconds: number]> = [
    ["max-age", { "cache-control": "public, max-age=600" }, 600],
    ["max-age, partly used up on the way", { "cache-control": "max-age=600", age: "500" }, 100],
    ["s-maxage", { "cache-control": "max-age=10, s-maxage=900" }, 900],
    ["expires", { date: new Date(0).toUTCString(), expires: new Date(700_000).toUTCString() }, 700],
    ["a year, bounded to a day", { "cache-control": "max-age=31536000, immutable" }, DAY],
    ["nothing said", {}, 300],
    ["max-age=0", { "cache-control": "max-age=0" }, 0],
    ["no-cache", { "cache-control": "no-cache, max-age=600", etag: '"1"' }, 0],
    ["no-store", { "cache-control": "no-store, max-age=600", etag: '"1"' }, 0],
    ["private", { "cache-control": "private, max-age=600" }, 0],
  ];
  for (const [what, headers, seconds] of lifetimes)
    test(`${what}: fresh for ${seconds} seconds`, async () => {
      serve(document(), headers);
      await found();
      if (seconds > 0) {
        clock += seconds - 1;
        await found();
        fetches(1);
        clock += 1;
      }
      serve(document({ client_name: "Renamed" }), headers);
      await found("Renamed");
      fetches(2);
    });

  test("no-store: nothing is kept, not even to ask whether it changed or for when fetching fails", async () => {
    serve(document(), { "cache-control": "no-store", etag: '"1"' });
    await found();
    await found();
    assert.equal(site.requests[1]?.headers["if-none-match"], undefined);
    fail(500);
    await assert.rejects(found());
  });

  test("a stale copy is asked about by its validator; 304 makes it fresh again by the new headers", async () => {
    serve(document(), { "cache-control": "max-age=60", etag: '"v1"' });
    await found();
    clock += 60;
    site.answer = (req, res) =>
      req.headers["if-none-match"] === '"v1"'
        ? res.writeHead(304, { "cache-control": "max-age=600", etag: '"v1"' }).end()
        : sendJson(res, document({ client_name: "Fetched in full" }));
    await found();
    clock += 599;
    await found();
    fetches(2);
    clock += 1;
    await found();
    fetches(3);
  });

  test("a 304 that says nothing new keeps the lifetime that was said before", async () => {
    serve(document(), { "cache-control": "max-age=600", etag: '"v1"' });
    await found();
    clock += 600;
    site.answer = (_req, res) => res.writeHead(304, { etag: '"v1"' }).end();
    await found();
    clock += 599;
    await found();
    fetches(2);
  });

  test("a 304 without a validator of its own still means unchanged", async () => {
    serve(document(), { "cache-control": "no-cache", etag: '"v1"' });
    await found();
    site.answer = (_req, res) => res.writeHead(304).end();
    await found();
    fetches(2);
  });

  test("Last-Modified works as a validator", async () => {
    const modified = new Date(clock * 1000).toUTCString();
    serve(document(), { "cache-control": "max-age=60", "last-modified": modified });
    await found();
    clock += 60;
    site.answer = (req, res) =>
      res
        .writeHead(req.headers["if-modified-since"] === modified ? 304 : 500, { "last-modified": modified })
        .end();
    await found();
  });

  test("while fetching fails a stale copy is used for four hours, with an attempt every half minute", async () => {
    serve(document(), { "cache-control": "max-age=60" });
    await found();
    clock += 60;
    fail(503);
    await found();
    clock += 29;
    await found();
    fetches(2);
    clock += 1;
    await found();
    fetches(3);
    clock += 4 * 3_600 - 31;
    await found();
    clock += 30;
    await assert.rejects(found(), { reason: "bad_status" });
  });

  test("one failed fetch changes nothing once the next one succeeds", async () => {
    serve(document(), { "cache-control": "max-age=60" });
    await found();
    clock += 60;
    site.answer = (req) => req.socket.destroy();
    await found();
    serve(document({ client_name: "Renamed" }), { "cache-control": "max-age=60" });
    clock += 30;
    await found("Renamed");
  });

  for (const directive of ["must-revalidate", "proxy-revalidate", "no-cache"])
    test(`${directive}: no stale copy, but at the token endpoint only a 503`, async () => {
      serve(document(), { "cache-control": `max-age=60, ${directive}` });
      await found();
      clock += 60;
      fail(500);
      await assert.rejects(found(), (error) => (atTokenEndpoint(error) as OAuthError).status === 503);
    });

  test("a document that was taken back or became invalid counts at once, and the old one never again", async () => {
    for (const answer of [() => fail(404), () => fail(410), () => serve(document({ client_name: "" }))]) {
      serve(document(), { "cache-control": "max-age=60" });
      const { find } = clients();
      await find(id);
      clock += 60;
      answer();
      await assert.rejects(find(id), ClientMetadataError);
      fail(500);
      await assert.rejects(find(id), ClientMetadataError);
    }
  });

  test("errors and invalid documents are not remembered: the next look-up asks again", async () => {
    const cacheable = { "cache-control": "public, max-age=3600" };
    const bad: Array<Site["answer"]> = [
      (_req, res) => res.writeHead(404, cacheable).end(),
      (_req, res) => res.writeHead(500, cacheable).end(),
      (_req, res) => res.writeHead(301, { ...cacheable, location: "/" }).end(),
      (_req, res) => sendJson(res, document({ client_id: "https://other.example/" }), cacheable),
      (_req, res) => sendJson(res, document({ client_secret: "s" }), cacheable),
    ];
    for (const answer of bad) {
      const { find } = clients();
      site.answer = answer;
      await assert.rejects(find(id), ClientMetadataError);
      serve(document(), cacheable);
      assert.equal((await find(id)).client_name, "An app");
    }
  });

  test("the domain policy is asked for a copy too", async () => {
    const domains = { allow: "any" as const, deny: [] as string[] };
    const { find } = clients({ domains });
    await find(id);
    domains.deny.push(HOST);
    await refused(find(id), "domain_denied");
  });

  test("a document with no-store evicts no copy of another one", async () => {
    const { find } = clients({ limits: { maxCopies: 1 } });
    await find(id);
    const [other, control] = [site.url("/other"), { "cache-control": "no-store" }];
    serve(document({ client_id: other }), control);
    await find(other);
    await find(id);
    fetches(2);
  });

  test("so many copies are kept, and the least recently used goes first", async () => {
    site.answer = (req, res) =>
      sendJson(res, document({ client_id: site.url(req.url ?? "") }), { "cache-control": "max-age=60" });
    const { find } = clients({ limits: { maxCopies: 2 } });
    const [a, b, c] = [site.url("/a"), site.url("/b"), site.url("/c")] as const;
    for (const client of [a, b, a, c, a]) await find(client);
    fetches(3);
    await find(b);
    fetches(4);
  });
});
