/** private_key_jwt: which assertions prove who a client is, once. */
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { after, before, beforeEach, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { exportJWK, generateKeyPair, type JSONWebKeySet, SignJWT } from "jose";
import {
  type AssertingClient,
  type AssertionRules,
  claimedClientId,
  JWT_BEARER,
  verifyClientAssertion,
} from "../../src/clients/client-assertion.ts";
import { createKeySets, type FetchJwks } from "../../src/clients/metadata-documents/jwks.ts";
import { OAuthError, UnavailableError } from "../../src/oauth/errors.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { redisStore } from "../../src/storage/redis/redis.ts";
import type { KeyValueStore } from "../../src/storage/store.ts";
import { redisForTests } from "../support/redis.ts";
import { fetchFrom, type Site, STRANGER, sendJson, silent, startSite } from "./support.ts";

const CLIENT = "https://app.example/client.json";
const ISSUER = "https://mcp.example";
const TOKEN_ENDPOINT = `${ISSUER}/token`;

// In whole seconds, and really now: Redis expires records by its own clock.
let clock = Math.floor(Date.now() / 1000);
const es256 = await newKey("ES256", "es");
const rs256 = await newKey("RS256", "rs");
const ed25519 = await newKey("Ed25519", "ed");
const stranger = await newKey("ES256", "es");
const jwks: JSONWebKeySet = { keys: [es256, rs256, ed25519].map(({ jwk }) => jwk) };
const redis = await redisForTests();
const records = memoryStore();
after(async () => {
  await records.close();
  await redis.stop();
});

interface Key {
  alg: string;
  kid: string | undefined;
  privateKey: Awaited<ReturnType<typeof generateKeyPair>>["privateKey"] | Uint8Array;
  jwk: JSONWebKeySet["keys"][number];
}

async function newKey(alg: string, kid: string): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair(alg);
  return { alg, kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid } };
}

/** A good assertion, but for what is changed; a claim that is undefined is left out. */
function assertion(
  changes: Record<string, unknown> = {},
  { alg, kid, privateKey }: Key = es256,
  extensions: { b64?: boolean } = {},
): Promise<string> {
  const claims = {
    iss: CLIENT,
    sub: CLIENT,
    aud: ISSUER,
    iat: clock,
    exp: clock + 60,
    jti: randomUUID(),
    ...changes,
  };
  const present = Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined));
  return new SignJWT(present)
    .setProtectedHeader({ alg, ...(kid && { kid }), ...extensions })
    .sign(privateKey);
}

function keySetsAsked(dependencies: Parameters<typeof createKeySets>[0]): FetchJwks {
  const keySets = createKeySets(dependencies);
  return (uri, options) => keySets.get(uri, STRANGER, options);
}

const noFetch: FetchJwks = async () => assert.fail("no key set is to be fetched");
const inline: AssertingClient = { client_id: CLIENT, jwks };

function verify(
  jwt: string,
  client = inline,
  rules: {
    fetchJwks?: FetchJwks;
    configuredKeys?: AssertionRules["configuredKeys"];
    records?: KeyValueStore;
    type?: string;
  } = {},
) {
  return verifyClientAssertion(jwt, rules.type ?? JWT_BEARER, client, {
    ...{ issuer: ISSUER, tokenEndpoint: TOKEN_ENDPOINT, now: () => clock },
    fetchJwks: rules.fetchJwks ?? noFetch,
    configuredKeys: rules.configuredKeys ?? (() => assert.fail("no configured client is asked")),
    records: rules.records ?? records,
    randomBytes,
  });
}

async function refused(promise: Promise<void>, reason: string): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof OAuthError, String(error));
    assert.deepEqual([error.code, error.status, error.reason], ["invalid_client", 401, reason]);
    assert.match(
      error.message,
      /^[\x20-\x21\x23-\x5b\x5d-\x7e]*$/,
      "RFC 6749 §5.2 allows no other characters",
    );
    return true;
  });
}

async function unavailable(promise: Promise<void>): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof UnavailableError, String(error));
    return error.status === 503;
  });
}

describe("good assertions", () => {
  const good: Array<[what: string, make: () => Promise<string>]> = [
    ["ES256", () => assertion()],
    ["RS256", () => assertion({}, rs256)],
    ["Ed25519", () => assertion({}, ed25519)],
    ["without a key id, where one key fits", () => assertion({}, { ...es256, kid: undefined })],
    ["the token endpoint as audience", () => assertion({ aud: TOKEN_ENDPOINT })],
    ["the issuer in a list", () => assertion({ aud: [ISSUER] })],
    ["the issuer with a slash at its end", () => assertion({ aud: `${ISSUER}/` })],
    ["no iat", () => assertion({ iat: undefined })],
    ["five minutes to live", () => assertion({ exp: clock + 300 })],
    ["five minutes and a fast clock", () => assertion({ exp: clock + 330, iat: clock + 30 })],
    ["just expired, within the tolerance", () => assertion({ exp: clock - 29 })],
  ];
  for (const [what, make] of good) test(what, async () => verify(await make()));
});

describe("bad assertions", () => {
  const hmacKey: Key = {
    alg: "HS256",
    kid: "es",
    privateKey: new TextEncoder().encode(JSON.stringify(es256.jwk)),
    jwk: es256.jwk,
  };
  const unsigned = (claims: object) =>
    `${Buffer.from('{"alg":"none"}').toString("base64url")}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.`;
  const bad: Array<[what: string, make: () => Promise<string>, reason: string]> = [
    ["another key of the same id", () => assertion({}, stranger), "assertion_signature"],
    ["an unknown key id", () => assertion({}, { ...es256, kid: "other" }), "assertion_unknown_key"],
    ["HMAC with the public key", () => assertion({}, hmacKey), "assertion_algorithm"],
    [
      "alg none",
      async () => unsigned({ iss: CLIENT, sub: CLIENT, aud: ISSUER, exp: clock + 60, jti: "1" }),
      "assertion_algorithm",
    ],
    ["a payload called unencoded", () => assertion({}, es256, { b64: false }), "assertion_malformed"],
    ["another issuer", () => assertion({ iss: "https://other.example/c" }), "assertion_bad_iss"],
    ["no issuer", () => assertion({ iss: undefined }), "assertion_bad_iss"],
    ["another subject", () => assertion({ sub: "user" }), "assertion_bad_sub"],
    ["no subject", () => assertion({ sub: undefined }), "assertion_bad_sub"],
    ["another audience", () => assertion({ aud: "https://other.example" }), "assertion_wrong_audience"],
    ["two audiences", () => assertion({ aud: [TOKEN_ENDPOINT, ISSUER] }), "assertion_wrong_audience"],
    ["no audience in a list", () => assertion({ aud: [] }), "assertion_wrong_audience"],
    [
      "an audience beside us",
      () => assertion({ aud: [ISSUER, "https://other.example"] }),
      "assertion_wrong_audience",
    ],
    ["an empty list of audiences", () => assertion({ aud: [] }), "assertion_wrong_audience"],
    ["no audience", () => assertion({ aud: undefined }), "assertion_bad_aud"],
    ["no expiry", () => assertion({ exp: undefined }), "assertion_bad_exp"],
    ["expired", () => assertion({ exp: clock - 31 }), "assertion_expired"],
    ["an hour to live", () => assertion({ exp: clock + 3_600 }), "assertion_lifetime_too_long"],
    ["a second too long to live", () => assertion({ exp: clock + 331 }), "assertion_lifetime_too_long"],
    ["issued in the future", () => assertion({ iat: clock + 31 }), "assertion_issued_in_future"],
    ["not valid yet", () => assertion({ nbf: clock + 60 }), "assertion_bad_nbf"],
    ["no jti", () => assertion({ jti: undefined }), "assertion_bad_jti"],
    ["an empty jti", () => assertion({ jti: "" }), "assertion_without_jti"],
    ["a jti that is no text", () => assertion({ jti: 7 }), "assertion_without_jti"],
    ["no JWT at all", async () => "nonsense", "assertion_malformed"],
    ["an empty string", async () => "", "assertion_malformed"],
    [
      "a changed payload",
      async () =>
        (await assertion()).replace(
          /\.[^.]*\./,
          `.${Buffer.from(JSON.stringify({ iss: CLIENT, sub: CLIENT, aud: ISSUER, exp: clock + 60, jti: "x" })).toString("base64url")}.`,
        ),
      "assertion_signature",
    ],
  ];
  for (const [what, make, reason] of bad)
    test(`${what}: ${reason}`, async () => refused(verify(await make()), reason));

  test("another assertion type", async () => {
    const type = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
    await refused(verify(await assertion(), inline, { type }), "unknown_assertion_type");
  });

  test("another algorithm than the client named", async () => {
    const client = { ...inline, token_endpoint_auth_signing_alg: "ES256" };
    await verify(await assertion(), client);
    await refused(verify(await assertion({}, rs256), client), "assertion_algorithm");
  });

  test("several keys fit and none is named", async () => {
    const client = { ...inline, jwks: { keys: [es256.jwk, stranger.jwk] } };
    await refused(
      verify(await assertion({}, { ...es256, kid: undefined }), client),
      "assertion_ambiguous_key",
    );
  });

  test("a client without keys", async () => {
    await refused(verify(await assertion(), { client_id: CLIENT }), "assertion_unknown_key");
  });

  test("a published key that is none, or too short", async () => {
    const broken = { kty: "EC", crv: "P-256", x: "x", y: "y", kid: "es" };
    const short = { kty: "RSA", n: randomBytes(128).toString("base64url"), e: "AQAB", kid: "rs" };
    for (const [key, signedBy] of [
      [broken, es256],
      [{ ...broken, crv: "P-521" }, es256],
      [short, rs256],
    ] as const) {
      const reason = "crv" in key && key.crv === "P-521" ? "assertion_unknown_key" : "assertion_unusable_key";
      await refused(
        verify(await assertion({}, signedBy), { client_id: CLIENT, jwks: { keys: [key] } }),
        reason,
      );
    }
  });

  test("a key that the assertion brings along", async () => {
    const { alg, jwk, privateKey } = stranger;
    const claims = { iss: CLIENT, sub: CLIENT, aud: ISSUER, exp: clock + 60, jti: randomUUID() };
    const { kid: _, ...bare } = jwk;
    const jwt = await new SignJWT(claims)
      .setProtectedHeader({ alg, kid: "es", jwk: bare as never })
      .sign(privateKey);
    await refused(verify(jwt), "assertion_signature");
  });
});

describe("replay", () => {
  const replicas: Array<{ name: string; skip: string | false; connect: () => KeyValueStore[] }> = [
    { name: "memory", skip: false, connect: () => [records, records] },
    { name: "redis", skip: redis.skip, connect: () => [toRedis(), toRedis()] },
  ];
  const keyPrefix = `assertion-${randomBytes(6).toString("hex")}`;
  const toRedis = () => redisStore({ url: redis.url ?? "", keyPrefix, commandTimeoutMs: 2_000, log: silent });

  for (const { name, skip, connect } of replicas)
    test(`of 20 concurrent uses on two replicas one succeeds (${name})`, { skip }, async () => {
      const [here, elsewhere] = connect() as [KeyValueStore, KeyValueStore];
      try {
        for (const replica of [here, elsewhere]) await ready(replica);
        const jwt = await assertion();
        const uses = Array.from({ length: 20 }, (_, i) =>
          verify(jwt, inline, { records: i % 2 ? here : elsewhere }),
        );
        const results = await Promise.allSettled(uses);
        assert.equal(results.filter(({ status }) => status === "fulfilled").length, 1);
        for (const result of results)
          if (result.status === "rejected") assert.equal(result.reason.reason, "assertion_replayed");
        await refused(verify(jwt, inline, { records: elsewhere }), "assertion_replayed");
        await verify(await assertion(), inline, { records: elsewhere });
      } finally {
        if (name === "redis") for (const replica of [here, elsewhere]) await replica.close();
      }
    });

  test("the same jti under another signature is a replay; that of another client is not", async () => {
    const jti = randomUUID();
    await verify(await assertion({ jti }));
    await refused(verify(await assertion({ jti, exp: clock + 61 })), "assertion_replayed");
    const other = "https://other.example/client.json";
    await verify(await assertion({ jti, iss: other, sub: other }), { client_id: other, jwks });
  });

  test("a refused assertion uses nothing up", async () => {
    const jti = randomUUID();
    await refused(verify(await assertion({ jti }, stranger)), "assertion_signature");
    await refused(verify(await assertion({ jti, aud: "https://other.example" })), "assertion_wrong_audience");
    await refused(verify(await assertion({ jti, exp: clock + 3_600 })), "assertion_lifetime_too_long");
    await verify(await assertion({ jti }));
  });

  test("it is remembered for as long as any replica could accept it, and no identifier is stored", async () => {
    const kept: Array<[key: string, seconds: number]> = [];
    const watched: KeyValueStore = {
      ...records,
      replace: (key, expected, record, seconds) => {
        kept.push([key, seconds]);
        return records.replace(key, expected, record, seconds);
      },
    };
    const jti = randomUUID();
    await verify(await assertion({ jti, exp: clock + 300 }), inline, { records: watched });
    const [[key, seconds]] = kept as [[string, number]];
    assert.equal(seconds, 360);
    assert.match(key, /^client-assertion:[\w-]{43}$/);
    await verify(await assertion({ exp: clock - 29.5 }), inline, { records: watched });
    assert.ok(Number.isInteger(kept[1]?.[1]) && (kept[1]?.[1] ?? 0) > 0);
  });

  test("a store that does not answer is an outage", async () => {
    const down: KeyValueStore = {
      ...records,
      replace: async () => {
        throw new UnavailableError("storage", { reason: "redis_unavailable" });
      },
    };
    await unavailable(verify(await assertion(), inline, { records: down }));
  });
});

describe("jwks_uri", () => {
  let site: Site;
  let client: AssertingClient;
  let fetchJwks: FetchJwks;
  before(async () => {
    site = await startSite();
  });
  after(() => site.close());
  beforeEach(() => {
    site.requests.length = 0;
    site.connections.length = 0;
    site.answer = (_req, res) => sendJson(res, jwks, { "cache-control": "max-age=3600" });
    client = { client_id: CLIENT, jwks_uri: site.url("/jwks") };
    fetchJwks = keySetsAsked({ fetch: fetchFrom(site.ca), now: () => clock, log: silent });
  });
  const verifyHere = async (key = es256) => verify(await assertion({}, key), client, { fetchJwks });

  test("is fetched once while it is fresh", async () => {
    for (const key of [es256, rs256, es256]) await verifyHere(key);
    assert.equal(site.requests.length, 1);
  });

  test("is fetched again for a key it lacks: a rotated key works at once", async () => {
    await verifyHere();
    clock += 60;
    const rotated = await newKey("ES256", "rotated");
    site.answer = (_req, res) => sendJson(res, { keys: [rotated.jwk] }, { "cache-control": "max-age=3600" });
    await verifyHere(rotated);
    assert.equal(site.requests.length, 2);
  });

  test("but not for every bad assertion, whatever its headers say", async () => {
    for (const headers of [{ "cache-control": "max-age=3600" }, { "cache-control": "no-store" }]) {
      site.requests.length = 0;
      site.answer = (_req, res) => sendJson(res, jwks, headers);
      fetchJwks = keySetsAsked({ fetch: fetchFrom(site.ca), now: () => clock, log: silent });
      const unknown = { ...stranger, kid: "unknown" };
      for (let i = 0; i < 5; i++) await refused(verifyHere(unknown), "assertion_unknown_key");
      assert.equal(site.requests.length, 1, JSON.stringify(headers));
      clock += 30;
      for (let i = 0; i < 5; i++) await refused(verifyHere(unknown), "assertion_unknown_key");
      assert.equal(site.requests.length, 2, JSON.stringify(headers));
      site.answer = (_req, res) => res.writeHead(500).end();
      if (headers["cache-control"] === "no-store") continue;
      clock += 30;
      for (let i = 0; i < 5; i++) await refused(verifyHere(unknown), "assertion_unknown_key");
      assert.equal(site.requests.length, 3, JSON.stringify(headers));
    }
  });

  const outages: Array<[what: string, answer: Site["answer"]]> = [
    ["500", (_req, res) => res.writeHead(500).end()],
    ["404", (_req, res) => res.writeHead(404).end()],
    ["a reset", (req) => req.socket.destroy()],
    ["no key set", (_req, res) => sendJson(res, { keys: "none" })],
    ["no JSON", (_req, res) => res.writeHead(200, { "content-type": "application/json" }).end("<html>")],
    ["a redirect", (_req, res) => res.writeHead(302, { location: "/" }).end()],
  ];
  for (const [what, answer] of outages)
    test(`${what} says nothing about the client: 503`, async () => {
      site.answer = answer;
      await unavailable(verifyHere());
    });

  test("a time-out too, and old keys serve while it lasts", async () => {
    // Short where nobody answers; an answer may take its time on a busy machine.
    const [impatient, patient] = [fetchFrom(site.ca, { timeoutMs: 100 }), fetchFrom(site.ca)];
    const answering: typeof site.answer = (_req, res) =>
      sendJson(res, jwks, { "cache-control": "max-age=60" });
    fetchJwks = keySetsAsked({
      fetch: (...request) => (site.answer === answering ? patient : impatient)(...request),
      now: () => clock,
      log: silent,
    });
    site.answer = () => {};
    await unavailable(verifyHere());
    site.answer = answering;
    await verifyHere();
    clock += 60;
    site.answer = () => {};
    await verifyHere();
  });

  test("a private address is never fetched", async () => {
    const fetch = fetchFrom(site.ca, { isAllowedAddress: () => false });
    fetchJwks = keySetsAsked({ fetch, now: () => clock, log: silent });
    await unavailable(verifyHere());
    assert.equal(site.connections.length, 0);
  });
});

test("the client that an assertion claims to be of is read without believing it", async () => {
  assert.equal(claimedClientId(await assertion({ sub: "someone" }, stranger)), "someone");
  assert.equal(claimedClientId(await assertion({ sub: 7 })), undefined);
  for (const text of ["", "a", "a.b.c", `${Buffer.from("{}").toString("base64url")}.W10.x`])
    assert.equal(claimedClientId(text), undefined, text);
});

async function ready(connection: KeyValueStore): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    if (
      await connection.ping().then(
        () => true,
        () => false,
      )
    )
      return;
    await delay(20);
  }
  assert.fail("Redis did not answer");
}
