/**
 * Strange JWTs at every door that takes one: as assertions and client assertions at /token, as bearer tokens at /mcp, and
 * strange answers of introspection. Nothing is accepted but what its issuer signed and meant for here; nothing is an error
 * of the server; every refusal has its reason in the log, and no secret.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { wildcard } from "../../src/access/pattern.ts";
import { readJwt } from "../../src/issuers/jwt.ts";
import type { TrustedIssuer } from "../../src/issuers/trusted-issuer.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../src/oauth/jwt.ts";
import { eventually } from "../support/eventually.ts";
import { postForm, rpc } from "../support/oauth-client.ts";
import { fc } from "../support/property.ts";
import { type Recipe, recipes, type StrangeJwt, strangeJwt } from "../support/strange-jwts.ts";
import { useTestServer } from "../support/test-server.ts";
import { type Key, lookUpClient, newKey, startTokenIssuer } from "../support/token-issuer.ts";
import type { Reply } from "./support.ts";

const SECRET = "the-secret-of-an-application-0123456789";
const LOOKUP_SECRET = "the-secret-of-introspection-0123456789";
const JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/** In the claims of every token: what a log must not quote. */
const PRIVATE = "private-claim-0123456789";
const TOLERANCE = 30;

type Claims = Record<string, unknown>;

const isText = (value: unknown): value is string => typeof value === "string" && value !== "";
const isTime = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);
const seconds = () => Date.now() / 1000;

/** Times as RFC 7519 §4.1 has them, by a clock that is as far off as clocks may be, and a test that takes a moment. */
function inTime({ exp, nbf, iat }: Claims, longest = Number.POSITIVE_INFINITY): boolean {
  const now = seconds();
  const latest = now + TOLERANCE + 1;
  const begun = [nbf, iat].every((each) => each === undefined || (isTime(each) && each <= latest));
  return isTime(exp) && exp > now - TOLERANCE - 60 && exp <= latest + longest && begun;
}

function soleAudience({ aud }: Claims, audiences: readonly string[]): boolean {
  const [only, ...more] = [aud].flat();
  return more.length === 0 && isText(only) && audiences.includes(only);
}

const typeOf = ({ typ }: Claims) =>
  typeof typ === "string" ? typ.toLowerCase().replace(/^application\//, "") : undefined;

const plain = ({ alg, crit, b64 }: Claims, key: Key) =>
  alg === key.alg && crit === undefined && b64 !== false;

export function fuzzJwts(numRuns: number): void {
  describe("a strange JWT", async () => {
    const company = await startTokenIssuer({ after });
    const platform = await startTokenIssuer({ after });
    const tenant = await startTokenIssuer({ after });
    const [signing, anotherKey] = [await newKey(), await newKey()];
    const testServer = useTestServer(() => {
      const { d: _private, ...jwk } = signing.jwk;
      const clients = [
        { client_id: "app", client_secret: SECRET, redirect_uris: ["https://app.example/cb"] },
        { client_id: "signing", jwks: { keys: [jwk] }, grant_types: ["client_credentials"] },
      ];
      return {
        environment: {
          CLIENTS: JSON.stringify(clients),
          CLIENT_ID_METADATA: "off",
          TOKEN_REQUESTS_PER_ADDRESS_PER_MINUTE: "1000000",
          TOKEN_REQUESTS_PER_CLIENT_PER_MINUTE: "1000000",
        },
        adjust: (config) => ({ ...config, issuers: trusted() }),
      };
    });
    before(() => {
      testServer.log.length = 0;
    });

    function trusted(): TrustedIssuer[] {
      const common = { algorithms: ASYMMETRIC_ALGORITHMS, timeoutSeconds: 10 };
      return [
        { ...common, accept: "id-jag", issuer: company.issuer, subject: "sub", publicClients: false },
        {
          ...common,
          accept: "workload",
          issuer: platform.issuer,
          rules: [{ claims: [{ claim: "sub", oneOf: [wildcard("batch:*")] }], scopes: ["weather:read"] }],
        },
        {
          ...common,
          accept: "access-token",
          issuer: tenant.issuer,
          types: ["at+jwt"],
          scopeClaims: ["scope"],
          scopes: new Map([["read", ["weather:read"]]]),
          introspection: { client: lookUpClient("mcp", LOOKUP_SECRET) },
        },
      ];
    }

    const claimsOf = ({ issuer }: { issuer: string }, more: Claims): Claims => {
      const now = Math.floor(seconds());
      return { private: PRIVATE, iss: issuer, iat: now, exp: now + 200, jti: randomUUID(), ...more };
    };
    const made = (recipe: Recipe, key: Key, typ: string, claims: Claims) =>
      strangeJwt(recipe, { header: { typ, alg: key.alg, kid: key.kid }, claims, key, anotherKey });

    /** A door, what is right there, and whether a genuine token of these claims is. */
    interface Door {
      make(recipe: Recipe): Promise<StrangeJwt>;
      send(token: string): Promise<Pick<Reply, "status" | "headers">>;
      statuses: readonly number[];
      isGood(claims: Claims, header: Claims): boolean;
    }

    const ours = () => testServer.baseUrl;
    const DOORS: Record<string, Door> = {
      "as an identity assertion": {
        make: (recipe) =>
          made(
            recipe,
            company.key,
            "oauth-id-jag+jwt",
            claimsOf(company, { aud: ours(), sub: "alice", client_id: "app" }),
          ),
        send: (assertion) =>
          postForm(`${ours()}/token`, {
            grant_type: JWT_BEARER,
            assertion,
            client_id: "app",
            client_secret: SECRET,
          }),
        statuses: [400],
        isGood: (claims, header) =>
          typeOf(header) === "oauth-id-jag+jwt" &&
          plain(header, company.key) &&
          claims.iss === company.issuer &&
          soleAudience(claims, [ours(), `${ours()}/`]) &&
          claims.client_id === "app" &&
          isText(claims.sub) &&
          isText(claims.jti) &&
          isTime(claims.iat) &&
          inTime(claims, 300) &&
          claims.cnf === undefined &&
          claims.authorization_details === undefined,
      },
      "as the assertion of a workload": {
        make: (recipe) =>
          made(
            recipe,
            platform.key,
            "JWT",
            claimsOf(platform, { aud: `${ours()}/token`, sub: "batch:nightly" }),
          ),
        send: (assertion) => postForm(`${ours()}/token`, { grant_type: JWT_BEARER, assertion }),
        statuses: [400],
        isGood: (claims, header) =>
          ["jwt", undefined].includes(typeOf(header)) &&
          plain(header, platform.key) &&
          claims.iss === platform.issuer &&
          soleAudience(claims, [ours(), `${ours()}/token`]) &&
          isText(claims.sub) &&
          claims.sub.startsWith("batch:") &&
          (claims.jti === undefined || isText(claims.jti)) &&
          isTime(claims.iat) &&
          inTime(claims, 21_600) &&
          claims.cnf === undefined &&
          claims.authorization_details === undefined,
      },
      "as the assertion of a client": {
        make: (recipe) =>
          made(recipe, signing, "JWT", claimsOf({ issuer: "signing" }, { aud: ours(), sub: "signing" })),
        send: (assertion) =>
          postForm(`${ours()}/token`, {
            grant_type: "client_credentials",
            client_id: "signing",
            client_assertion: assertion,
            client_assertion_type: CLIENT_ASSERTION,
          }),
        statuses: [400, 401],
        isGood: (claims, header) =>
          plain(header, signing) &&
          claims.iss === "signing" &&
          claims.sub === "signing" &&
          soleAudience(claims, [ours(), `${ours()}/`, `${ours()}/token`]) &&
          isText(claims.jti) &&
          inTime(claims, 300),
      },
      "as an access token": {
        make: (recipe) =>
          made(
            recipe,
            tenant.key,
            "at+jwt",
            claimsOf(tenant, { aud: testServer.url, sub: "alice", client_id: "app", scope: "read" }),
          ),
        // Node itself refuses a header of more than 16 KB.
        send: (token) => rpc(testServer.url, token.slice(0, 15_000), "ping"),
        statuses: [400, 401],
        isGood: (claims, header) =>
          typeOf(header) === "at+jwt" &&
          plain(header, tenant.key) &&
          claims.iss === tenant.issuer &&
          [claims.aud].flat().includes(testServer.url) &&
          isText(claims.sub) &&
          inTime(claims) &&
          claims.cnf === undefined &&
          claims.nonce === undefined &&
          claims.at_hash === undefined,
      },
    };

    /** The log of one request, and what no log may have in it. Forgotten afterwards. */
    async function assertLogged({ status, headers }: Pick<Reply, "status" | "headers">, secrets: string[]) {
      const id = headers.get("x-request-id");
      const line = await eventually(`a log line for request ${id}`, () =>
        testServer.log.find(({ msg, requestId }) => msg === "request" && requestId === id),
      );
      if (status !== 200) assert.equal(typeof line.reason, "string", JSON.stringify(line));
      for (const each of testServer.log.splice(0)) {
        const text = JSON.stringify(each);
        assert.ok(status === 503 || Number(each.level) < 50, text);
        assert.doesNotMatch(text, /\\n +at |node_modules|"stack"/);
        // The longest is the id of a client, when every character of it has to be escaped.
        assert.ok(text.length < 6_000, text);
        for (const secret of secrets) assert.ok(!text.includes(secret), `${secret} in ${text}`);
      }
    }

    for (const [where, { make, send, statuses, isGood }] of Object.entries(DOORS))
      test(`${where} is accepted only if its issuer signed it for here`, async () => {
        let accepted = 0;
        await fc.assert(
          fc.asyncProperty(recipes, async (recipe) => {
            const { text, genuine } = await make(recipe);
            const answer = await send(text);
            const good = genuine !== undefined && isGood(genuine.claims, genuine.header);
            if (answer.status === 200) accepted++;
            // What is no JWT is looked up at introspection, and beyond so many that are made up nobody knows what it is.
            const mayBeLimited = where === "as an access token" && readJwt(text) === undefined;
            const refusals = mayBeLimited ? [...statuses, 503] : statuses;
            assert.ok(
              good || refusals.includes(answer.status),
              `${answer.status} for ${text.slice(0, 2_000)}`,
            );
            assert.ok(answer.status < 500 || mayBeLimited);
            const parts = text.split(".").filter((part) => part.length > 20);
            await assertLogged(answer, [SECRET, LOOKUP_SECRET, PRIVATE, ...parts]);
          }),
          {
            numRuns,
            endOnFailure: true,
            includeErrorInReport: true,
            examples: [[{ header: [], claims: [], payload: undefined, signature: "right", text: [] }]],
          },
        );
        assert.ok(accepted > 0, "a good one is");
      });

    test("is not what introspection answers with, however strange that is", async () => {
      const good = () => ({
        active: true,
        exp: Math.floor(seconds()) + 200,
        aud: testServer.url,
        sub: "alice",
      });
      const names = ["active", "iss", "aud", "exp", "nbf", "sub", "client_id", "scope", "cnf", "__proto__"];
      const answers = fc.oneof(
        fc.jsonValue(),
        fc
          .array(fc.tuple(fc.constantFrom(...names), fc.option(fc.jsonValue())), { maxLength: 2 })
          .map((changes) => ({ ...good(), ...Object.fromEntries(changes) })),
      );
      await fc.assert(
        fc.asyncProperty(answers, async (answer) => {
          const token = `opaque.${randomUUID()}`;
          tenant.introspected.set(token, answer ?? "null");
          const { status, headers } = await rpc(testServer.url, token, "ping");
          tenant.introspected.delete(token);
          const { active, iss, aud, sub, exp, nbf, cnf } = Object(answer);
          const isGood =
            active === true &&
            (iss === undefined || iss === tenant.issuer) &&
            [aud].flat().includes(testServer.url) &&
            isText(sub) &&
            cnf === undefined &&
            inTime({ exp, nbf });
          assert.ok(isGood || status === 401 || status === 503, `${status} for ${JSON.stringify(answer)}`);
          await assertLogged({ status, headers }, [LOOKUP_SECRET, token]);
        }),
        { numRuns, endOnFailure: true, includeErrorInReport: true },
      );
    });
  });
}
