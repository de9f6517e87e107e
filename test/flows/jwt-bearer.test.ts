/** Assertions of trusted issuers become access tokens: of a company's people (ID-JAG), and of workloads (RFC 7523 §2.1). */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { wildcard } from "../../src/access/pattern.ts";
import { allowEverything, createPolicy, type Policy } from "../../src/access/policy.ts";
import type { TrustedIssuer } from "../../src/issuers/trusted-issuer.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../src/oauth/jwt.ts";
import { reasonOf } from "../attacks/support.ts";
import { fetchFrom, sendJson, startSite } from "../clients/support.ts";
import { endEntry, openConnections, textOf } from "../support/connections.ts";
import { eventually } from "../support/eventually.ts";
import { callTool, getJson, newBrowser, postForm } from "../support/oauth-client.ts";
import { startTestServer, type TestServer, useTestServer } from "../support/test-server.ts";
import { startTokenIssuer } from "../support/token-issuer.ts";

const GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SECRET = "the-secret-of-an-application-0123456789";
const ID_JAG = { typ: "oauth-id-jag+jwt" };
const company = await startTokenIssuer({ after });
const platform = await startTokenIssuer({ after });

const CLIENTS = JSON.stringify([
  { client_id: "app", client_secret: SECRET, redirect_uris: ["https://app.example/cb"] },
  { client_id: "other", client_secret: SECRET, redirect_uris: ["https://app.example/cb"] },
  { client_id: "own", client_secret: SECRET, grant_types: ["client_credentials"] },
  { client_id: "public", redirect_uris: ["https://app.example/cb"] },
  {
    client_id: "narrow",
    client_secret: SECRET,
    redirect_uris: ["https://app.example/cb"],
    scope: "orders:read",
  },
]);
const environment = { CLIENTS };
const scopes = {
  "orders:read": { description: "Read orders" },
  "reports:read": { description: "Read reports" },
  "orders:write": { description: "Change orders", includes: ["orders:read"] },
};

function trust(...changes: Array<Partial<TrustedIssuer>>): TrustedIssuer[] {
  const common = { algorithms: ASYMMETRIC_ALGORITHMS, timeoutSeconds: 10 };
  return [
    { ...common, accept: "id-jag", issuer: company.issuer, subject: "sub", publicClients: false },
    {
      ...common,
      accept: "workload",
      issuer: platform.issuer,
      rules: [
        { claims: [{ claim: "sub", oneOf: [wildcard("batch:nightly")] }], scopes: ["weather:read"] },
        {
          claims: [{ claim: "sub", oneOf: [wildcard("batch:elsewhere")] }],
          scopes: [],
          resources: ["/other/mcp"],
        },
      ],
    },
    ...changes.map((change) => ({ ...common, ...change }) as TrustedIssuer),
  ];
}

const trusting = (...changes: Array<Partial<TrustedIssuer>>) => ({
  environment,
  scopes,
  adjust: (config: TestServer["config"]) => ({ ...config, issuers: trust(...changes) }),
});

const asApp = { client_id: "app", client_secret: SECRET };
const PERSON = { sub: "u-17", client_id: "app", scope: "weather:read orders:read" };

function askAt(baseUrl: string, assertion: string, fields: Record<string, string> = {}) {
  return postForm(`${baseUrl}/token`, { grant_type: GRANT_TYPE, assertion, ...fields });
}

describe("an identity assertion", () => {
  const testServer = useTestServer(trusting());
  const sign = (claims: Record<string, unknown> = {}) =>
    company.sign({ aud: testServer.baseUrl, ...PERSON, ...claims }, ID_JAG);
  const ask = (assertion: string, fields: Record<string, string> = asApp) =>
    askAt(testServer.baseUrl, assertion, fields);

  async function refused(
    answer: Awaited<ReturnType<typeof ask>>,
    [status, error, reason]: [number, string, string],
  ): Promise<void> {
    assert.deepEqual([answer.status, answer.body.error], [status, error], JSON.stringify(answer.body));
    assert.equal(await reasonOf(testServer, answer), reason);
  }

  test("is announced, and not by whom", async () => {
    const metadata = await getJson(`${testServer.baseUrl}/.well-known/oauth-authorization-server`);
    assert.ok(metadata.grant_types_supported.includes(GRANT_TYPE));
    assert.deepEqual(metadata.authorization_grant_profiles_supported, [
      "urn:ietf:params:oauth:grant-profile:id-jag",
    ]);
    assert.equal(JSON.stringify(metadata).includes(company.issuer), false);
  });

  test("gives its client an access token for the person, and no refresh token", async () => {
    const { status, body } = await ask(await sign());
    assert.equal(status, 200, JSON.stringify(body));
    assert.deepEqual(Object.keys(body).sort(), ["access_token", "expires_in", "scope", "token_type"]);
    assert.equal(body.scope, "weather:read orders:read");
    const said = JSON.stringify((await callTool(testServer.url, body.access_token, "whoami")).body);
    for (const part of [
      '"subject":"u-17"',
      '"kind":"user"',
      `"issuer":"${company.issuer}"`,
      '"clientId":"app"',
    ])
      assert.ok(said.includes(part), said);
  });

  test("is worth what it permits and the request asks for", async () => {
    const asked = await ask(await sign(), { ...asApp, scope: "orders:read" });
    assert.equal(asked.body.scope, "orders:read");
    const wider = await ask(await sign(), { ...asApp, scope: "orders:read orders:write" });
    assert.equal(wider.body.scope, "orders:read");
    await refused(await ask(await sign(), { ...asApp, scope: "reports:read" }), [
      400,
      "invalid_scope",
      "scope_beyond_assertion",
    ]);
    const unknown = await ask(await sign({ scope: "admin weather:read" }));
    assert.equal(unknown.body.scope, "weather:read");
  });

  test("is of no use to a client whose grant types are configured without it", async () => {
    await refused(await ask(await sign({ client_id: "own" }), { client_id: "own", client_secret: SECRET }), [
      400,
      "unauthorized_client",
      "grant_type_not_registered",
    ]);
  });

  test("is worth no more than its client may have", async () => {
    const narrow = { client_id: "narrow", client_secret: SECRET };
    const { body } = await ask(await sign({ client_id: "narrow" }), narrow);
    assert.equal(body.scope, "orders:read");
  });

  test("is for the resource that it names, in whatever way the request names it", async () => {
    const resource = testServer.url;
    const named = await sign({ resource });
    assert.equal((await ask(named, { ...asApp, resource })).status, 200);
    await refused(await ask(await sign({ resource: "https://other.example.com/mcp" })), [
      400,
      "invalid_grant",
      "assertion_for_another_resource",
    ]);
    const elsewhere = { ...asApp, resource: "https://other.example.com/mcp" };
    await refused(await ask(await sign(), elsewhere), [400, "invalid_target", "foreign_resource"]);
  });

  test("is accepted once, and again only as a new one", async () => {
    const assertion = await sign();
    assert.equal((await ask(assertion)).status, 200);
    await refused(await ask(assertion), [400, "invalid_grant", "assertion_replayed"]);
    assert.equal((await ask(await sign())).status, 200);
  });

  test("is accepted once by all replicas at the same instant", async () => {
    const replicas = [testServer.baseUrl, await testServer.replica()];
    for (let round = 0; round < 10; round++) {
      const assertion = await sign();
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, index) => askAt(replicas[index % 2] ?? "", assertion, asApp)),
      );
      assert.equal(answers.filter(({ status }) => status === 200).length, 1);
    }
  });

  test("is not used up by a request that is refused", async () => {
    const assertion = await sign();
    assert.equal((await ask(assertion, { ...asApp, scope: "reports:read" })).status, 400);
    assert.equal((await ask(assertion, { ...asApp, client_secret: "wrong".repeat(8) })).status, 401);
    assert.equal((await ask(assertion)).status, 200);
  });

  test("is of no use to another client, or to nobody", async () => {
    const other = { client_id: "other", client_secret: SECRET };
    await refused(await ask(await sign(), other), [400, "invalid_grant", "assertion_of_another_client"]);
    await refused(await ask(await sign(), {}), [401, "invalid_client", "no_client_id"]);
    await refused(await ask(await sign({ client_id: "public" }), { client_id: "public" }), [
      400,
      "unauthorized_client",
      "assertion_of_public_client",
    ]);
    await refused(await ask(await sign(), { client_id: "app" }), [
      401,
      "invalid_client",
      "wrong_auth_method",
    ]);
  });

  test("is refused as an ID token, an access token, or by an issuer that is trusted for workloads", async () => {
    for (const typ of ["JWT", "at+jwt"])
      await refused(await ask(await company.sign({ ...PERSON, aud: testServer.baseUrl }, { typ })), [
        400,
        "invalid_grant",
        "jwt_wrong_issuer",
      ]);
    const ofPlatform = await platform.sign({ ...PERSON, aud: testServer.baseUrl }, ID_JAG);
    await refused(await ask(ofPlatform), [400, "invalid_grant", "jwt_wrong_issuer"]);
  });

  test("gives a token that ends with the grant that the person can end", async () => {
    const { body } = await ask(await sign());
    const revoked = await postForm(`${testServer.baseUrl}/revoke`, { ...asApp, token: body.access_token });
    assert.equal(revoked.status, 200);
    assert.equal((await callTool(testServer.url, body.access_token, "whoami")).status, 401);
  });

  test("is not logged, and neither is what it was given for", async () => {
    const assertion = await sign();
    const { body } = await ask(assertion);
    const log = JSON.stringify(testServer.log);
    assert.equal(log.includes(assertion) || log.includes(body.access_token), false);
    assert.ok(testServer.log.some(({ audit, subject }) => audit === "token_issued" && subject === "u-17"));
  });
});

describe("an issuer of assertions that is out of reach", () => {
  test("is an outage, after which the same assertion is good", async (t) => {
    const issuer = await startTokenIssuer(t);
    const testServer = await startTestServer(
      trusting({ accept: "id-jag", issuer: issuer.issuer, subject: "sub", publicClients: false }),
    );
    t.after(() => testServer.close());
    const assertion = await issuer.sign({ ...PERSON, aud: testServer.baseUrl }, ID_JAG);
    issuer.trouble = 503;
    const answer = await askAt(testServer.baseUrl, assertion, asApp);
    assert.equal(answer.status, 503, JSON.stringify(answer.body));
    assert.ok(Number(answer.headers.get("retry-after")) > 0);
    issuer.trouble = undefined;
    testServer.clock.ahead += 20;
    assert.equal((await askAt(testServer.baseUrl, assertion, asApp)).status, 200);
  });
});

describe("an outage of the store when an assertion is used up", () => {
  test("uses nothing up: the platform makes the next one an hour later", async (t) => {
    const testServer = await startTestServer(trusting());
    t.after(() => testServer.close());
    const outages: Array<["put" | "replace", string]> = [
      ["put", "grant:"],
      ["replace", "assertion:"],
    ];
    for (const [operation, begins] of outages) {
      const assertion = await platform.sign({ aud: `${testServer.baseUrl}/token`, sub: "batch:nightly" });
      const carriedOut: (...args: never[]) => Promise<unknown> = testServer.records[operation];
      const lost = t.mock.method(testServer.records, operation, async (key: never, ...rest: never[]) => {
        const result = await carriedOut(key, ...rest);
        if (!String(key).startsWith(begins)) return result;
        throw new UnavailableError("storage", { reason: "redis_unavailable" });
      });
      assert.equal((await askAt(testServer.baseUrl, assertion)).status, 503);
      lost.mock.restore();
      assert.equal((await askAt(testServer.baseUrl, assertion)).status, 200, operation);
      assert.equal((await askAt(testServer.baseUrl, assertion)).status, 400, "once");
    }
  });
});

describe("the assertion of a workload", () => {
  const testServer = useTestServer(trusting());
  const sign = (claims: Record<string, unknown> = {}) =>
    platform.sign({ aud: `${testServer.baseUrl}/token`, sub: "batch:nightly", ...claims });
  const ask = (assertion: string, fields?: Record<string, string>) =>
    askAt(testServer.baseUrl, assertion, fields);

  test("gives an access token without a client", async () => {
    const { status, body } = await ask(await sign(), { resource: testServer.url });
    assert.deepEqual([status, body.scope, body.refresh_token], [200, "weather:read", undefined]);
    const said = JSON.stringify((await callTool(testServer.url, body.access_token, "whoami")).body);
    assert.ok(said.includes('"kind":"workload"') && said.includes('"subject":"batch:nightly"'), said);
  });

  test("is refused with a client, for a workload that no rule names, or at a resource of another rule", async () => {
    const withClient = await ask(await sign(), asApp);
    assert.equal(await reasonOf(testServer, withClient), "workload_with_client");
    const unnamed = await ask(await sign({ sub: "batch:daily" }));
    assert.deepEqual([unnamed.status, unnamed.body.error], [400, "invalid_grant"]);
    assert.equal(await reasonOf(testServer, unnamed), "workload_not_named");
    const elsewhere = await ask(await sign({ sub: "batch:elsewhere" }));
    assert.deepEqual([elsewhere.status, elsewhere.body.error], [400, "invalid_target"]);
  });

  test("is accepted once, with an id or without", async () => {
    for (const claims of [{}, { jti: undefined }]) {
      const assertion = await sign(claims);
      assert.equal((await ask(assertion)).status, 200);
      const again = await ask(assertion);
      assert.equal(await reasonOf(testServer, again), "assertion_replayed");
    }
  });

  test("of an issuer that is trusted for people is refused", async () => {
    const answer = await ask(await company.sign({ sub: "batch:nightly", aud: testServer.baseUrl }));
    assert.deepEqual([answer.status, answer.body.error], [400, "invalid_grant"]);
  });
});

test("a person sees at /connections what their company lets in, and ends it with a word of what that means", async (t) => {
  const testServer = await startTestServer({
    ...trusting(),
    // The company signs people in, and lets applications in, under one name.
    adjust: (config) => ({
      ...config,
      issuers: trust().map((each) => ({
        ...each,
        ...(each.accept === "id-jag" && {
          issuer: config.identityProviders[0].issuer,
          jwksUri: `${company.issuer}/keys`,
        }),
      })),
    }),
  });
  t.after(() => testServer.close());
  const iss = testServer.config.identityProviders[0].issuer;
  const claims = { ...PERSON, sub: "alice", iss, aud: testServer.baseUrl };
  const { body } = await askAt(testServer.baseUrl, await company.sign(claims, ID_JAG), asApp);
  const browser = newBrowser();
  const page = await openConnections(testServer.baseUrl, { browser });
  assert.match(textOf(page.body), /Your company lets it in without asking you/);
  await endEntry(browser, page, "An application without a name");
  assert.equal((await callTool(testServer.url, body.access_token, "whoami")).status, 401);
});

describe("what holds for everybody holds for assertions", () => {
  test("e-mail domains, and the policy", async (t) => {
    const policy = createPolicy({
      default: "allow",
      claims: { groups: "groups", organization: "org_id" },
      rules: [
        {
          name: "no contractors",
          effect: "deny",
          for: { groups: [wildcard("contractors")] },
          about: "everything",
        },
      ],
    } as never);
    const testServer = await startTestServer({
      ...trusting(),
      policy,
      environment: { ...environment, ALLOWED_EMAIL_DOMAINS: "example.com" },
    });
    t.after(() => testServer.close());
    const member = { email: "u@example.com", email_verified: true, groups: ["staff"] };
    const ask = async (claims: Record<string, unknown>) =>
      askAt(
        testServer.baseUrl,
        await company.sign({ ...PERSON, aud: testServer.baseUrl, ...claims }, ID_JAG),
        asApp,
      );
    assert.equal((await ask(member)).status, 200);
    for (const [claims, reason] of [
      [{ ...member, email: "u@evil.example" }, "wrong_email_domain"],
      [{ ...member, email_verified: false }, "email_not_verified"],
      [{ groups: ["staff"] }, "wrong_email_domain"],
      [{ ...member, groups: ["contractors"] }, "denied_by_policy"],
      [{ ...member, groups: undefined }, "denied_by_policy"],
    ] as const) {
      const answer = await ask(claims);
      assert.deepEqual([answer.status, answer.body.error], [400, "invalid_grant"]);
      assert.equal(await reasonOf(testServer, answer), reason);
    }
  });
});

test("the policy takes scopes from what an assertion permits", async (t) => {
  const policy: Policy = {
    ...allowEverything,
    at: () => policy,
    scope: (_requester, scope) =>
      scope === "orders:read" ? { allowed: false, rule: { name: "no orders" } } : { allowed: true },
  };
  const testServer = await startTestServer({ ...trusting(), policy });
  t.after(() => testServer.close());
  const ofPerson = await company.sign({ ...PERSON, aud: testServer.baseUrl }, ID_JAG);
  const person = await askAt(testServer.baseUrl, ofPerson, asApp);
  assert.deepEqual([person.status, person.body.scope], [200, "weather:read"]);
});

describe("a client with a metadata document", () => {
  test("is looked up only for a genuine assertion that names it", async (t) => {
    let asked = 0;
    const site = await startSite((_req, res) => {
      asked++;
      sendJson(res, {
        client_id: site.url("/client.json"),
        client_name: "Document client",
        redirect_uris: ["https://app.example/cb"],
      });
    });
    t.after(() => site.close());
    const testServer = await startTestServer({
      ...trusting(),
      adjust: (config) => ({
        ...config,
        issuers: trust().map((each) => (each.accept === "id-jag" ? { ...each, publicClients: true } : each)),
      }),
      safeFetch: (options) => fetchFrom(site.ca, options),
    });
    t.after(() => testServer.close());
    const client_id = site.url("/client.json");
    const claims = { ...PERSON, aud: testServer.baseUrl, client_id };
    const forged = await platform.sign({ ...claims, iss: company.issuer }, ID_JAG);
    const ofAnother = await company.sign({ ...claims, client_id: "app" }, ID_JAG);
    for (const assertion of [forged, ofAnother, "x"])
      assert.equal((await askAt(testServer.baseUrl, assertion, { client_id })).status, 400);
    assert.equal(asked, 0);
    const genuine = await company.sign(claims, ID_JAG);
    const answer = await askAt(testServer.baseUrl, genuine, { client_id });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    await eventually("its document was fetched", () => asked === 1);
  });
});
