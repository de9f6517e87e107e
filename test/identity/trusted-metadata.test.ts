/** A discovery document may not send us, or our users, to where anybody on the network can answer. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, test } from "node:test";
import { pino } from "pino";
import { loadConfig } from "../../src/config/config.ts";
import { discover, withoutAuthentication } from "../../src/identity/oidc/discovery.ts";
import { createOidcProvider } from "../../src/identity/oidc/oidc.ts";
import { checkEndpoints, issuerProblem } from "../../src/identity/oidc/trusted-metadata.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { systemClock } from "../../src/runtime/runtime.ts";
import { sendJson, startSite } from "../clients/support.ts";

const ISSUER = new URL("https://idp.example");
const GOOD = {
  authorization_endpoint: "https://idp.example/auth",
  token_endpoint: "https://idp.example/token",
  userinfo_endpoint: "https://api.idp.example/me",
  jwks_uri: "https://keys.idp.example/jwks",
  revocation_endpoint: "https://idp.example/revoke",
  end_session_endpoint: "https://idp.example/end",
};

describe("under an https issuer", () => {
  test("endpoints on any https host are taken, and what is not used is not looked at", () =>
    checkEndpoints(ISSUER, { ...GOOD, check_session_iframe: "http://idp.example/x" }));

  for (const name of Object.keys(GOOD))
    for (const url of [
      "http://idp.example/x",
      "http://localhost/x",
      "javascript:alert(1)",
      "/x",
      "",
      7,
      null,
    ])
      test(`${name}: ${JSON.stringify(url)} is refused, by name`, () =>
        assert.throws(() => checkEndpoints(ISSUER, { ...GOOD, [name]: url }), new RegExp(`its ${name}`)));
});

test("every endpoint at fault is named at once, and so is everything that is missing", () => {
  const plain = { token_endpoint: "http://idp.example/token", jwks_uri: "http://idp.example/jwks" };
  assert.throws(
    () => checkEndpoints(ISSUER, { ...GOOD, ...plain }),
    /"http:\/\/idp\.example\/token" as its token_endpoint, "http:\/\/idp\.example\/jwks" as its jwks_uri: each has to be an https URL$/,
  );
  assert.throws(
    () => checkEndpoints(ISSUER, { authorization_endpoint: GOOD.authorization_endpoint }),
    /names no token_endpoint, jwks_uri$/,
  );
});

describe("the issuer of a document", () => {
  const MICROSOFT = "https://login.microsoftonline.com";
  const cases: Array<[ours: string, theirs: unknown, problem: RegExp | undefined]> = [
    ["https://a.example/x", "https://a.example/x", undefined],
    ["https://a.example", "https://a.example/", undefined],
    ["https://a.example/", "https://a.example", undefined],
    ["https://a.example/x", "https://a.example/x/", /slash at the end is missing/],
    ["https://a.example/x/", "https://a.example/x", /one slash too many/],
    ["https://a.example/X", "https://a.example/x", /upper and lower case/],
    ["http://a.example/x", "https://a.example/x", /http and the other https/],
    ["https://a.example/x", "https://b.example/x", /hosts differ/],
    ["https://a.example/x", "https://a.example/y", /paths differ/],
    ["https://a.example/x", "nonsense", /is no URL/],
    ["https://a.example/x", undefined, /is no URL/],
    [`${MICROSOFT}/contoso.com/v2.0`, `${MICROSOFT}/3f8c2a40-6d1e-4b7a-9c55-0e2d7b91a6f4/v2.0`, undefined],
    [`${MICROSOFT}/common/v2.0`, `${MICROSOFT}/{tenantid}/v2.0`, /many tenants/],
    ["https://acme.b2clogin.com/acme/b2c_1/v2.0", "https://acme.b2clogin.com/3f8c2a40/v2.0", undefined],
    ["https://a.example/x", "https://login.microsoftonline.com/3f8c2a40/v2.0", /hosts differ/],
  ];
  for (const [ours, theirs, problem] of cases)
    test(`${theirs} is ${problem === undefined ? "taken" : "refused"} for ${ours}`, () => {
      const found = issuerProblem(ours, theirs);
      if (problem === undefined) assert.equal(found, undefined);
      else assert.match(found ?? "", problem);
    });
});

describe("under an http issuer of this computer", () => {
  const local = new URL("http://localhost:3001");
  test("http is taken, and https", () => {
    checkEndpoints(local, { ...GOOD, jwks_uri: "http://localhost:3001/jwks" });
  });
  test("other schemes are not", () =>
    assert.throws(
      () => checkEndpoints(local, { ...GOOD, authorization_endpoint: "javascript:alert(1)" }),
      /names/,
    ));
});

test("a provider whose keys are to be fetched by http signs nobody in, and the log says why", async () => {
  // The certificate is nobody's; only what the document says is looked at here.
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
  const site = await startSite((req, res) => {
    const issuer = `https://localhost:${site.port}`;
    if (!req.url?.startsWith("/.well-known/")) return void res.writeHead(404).end();
    sendJson(res, {
      ...{ issuer, authorization_endpoint: `${issuer}/auth`, token_endpoint: `${issuer}/token` },
      jwks_uri,
    });
  });
  let jwks_uri = `http://localhost:${site.port}/jwks`;
  const {
    identityProviders: [upstream],
  } = loadConfig({
    BASE_URL: "http://localhost:9",
    STORE: "memory",
    SECRET_KEY: "test-secret-key-with-more-than-32-bytes-0123456789",
    OIDC_ISSUER: `https://localhost:${site.port}`,
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "proxy-secret",
  });
  const lines: Array<Record<string, unknown>> = [];
  const log = pino({ level: "error" }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const provider = () => createOidcProvider(upstream, { now: systemClock, randomBytes, log });
  try {
    await assert.rejects(provider().ready(), UnavailableError);
    assert.equal(lines[0]?.reason, "discovery_failed");
    assert.match(JSON.stringify(lines[0]?.cause), /as its jwks_uri: it has to be an https URL/);
    jwks_uri = `https://localhost:${site.port}/jwks`;
    await provider().ready();
  } finally {
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    await site.close();
  }
});

describe("discovery", () => {
  const settings = {
    BASE_URL: "http://localhost:9",
    STORE: "memory",
    SECRET_KEY: "test-secret-key-with-more-than-32-bytes-0123456789",
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "proxy-secret",
  };
  const discovering = (issuer: string) =>
    discover(
      loadConfig({ ...settings, OIDC_ISSUER: issuer }).identityProviders[0],
      withoutAuthentication({}),
    );

  for (const status of [301, 302, 307])
    test(`does not follow a redirection (${status}), and says where it leads`, async () => {
      const asked: string[] = [];
      const server = createServer((req, res) => {
        asked.push(req.url ?? "");
        res.writeHead(status, { location: "/elsewhere/.well-known/openid-configuration?state=1" }).end();
      });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const issuer = `http://localhost:${(server.address() as AddressInfo).port}`;
      try {
        await assert.rejects(
          discovering(issuer),
          new RegExp(
            `HTTP ${status} leads to ${issuer}/elsewhere/\\.well-known/openid-configuration, which is not`,
          ),
        );
        assert.deepEqual(asked, ["/.well-known/openid-configuration"]);
      } finally {
        server.close();
      }
    });

  test("takes no issuer for many tenants, which openid-client would take", async (t) => {
    const issuer = "https://login.microsoftonline.com/common/v2.0";
    const document = { ...GOOD, issuer: "https://login.microsoftonline.com/{tenantid}/v2.0" };
    t.mock.method(globalThis, "fetch", async () => Response.json(document));
    await assert.rejects(discovering(issuer), /is a pattern for many tenants/);
  });
});
