/** Where a user's scopes come from, over HTTP: only the configured sources give scopes. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import {
  type DemoUser,
  GOOGLE,
  type ProviderBehaviour,
} from "../../dev/identity-provider/identity-provider.ts";
import {
  authorize,
  callTool,
  newBrowser,
  type Registered,
  redeem,
  refresh,
  register,
  signInForTokens,
} from "../support/oauth-client.ts";
import { claimsIn } from "../support/requester.ts";
import {
  ALICE,
  BOB,
  startTestServer,
  type TestServer,
  type TestServerOptions,
  useTestServer,
} from "../support/test-server.ts";

const ROLE_MAP =
  '{"Weather Forecaster":["weather:read"],"[object Object]":["weather:read"],"7":["weather:read"]}';
const byRole = { SCOPES_FROM: "claim", SCOPE_CLAIM: "roles", SCOPE_CLAIM_MAP: ROLE_MAP };

async function withTestServer(
  options: TestServerOptions,
  story: (testServer: TestServer, client: Registered) => Promise<void>,
) {
  const testServer = await startTestServer(options);
  try {
    await story(testServer, await register(testServer.baseUrl));
  } finally {
    await testServer.close();
  }
}

/** Signs in and says which scopes came of it, and what the provider was asked. */
async function signedIn(testServer: TestServer, client: Registered, login = "alice") {
  const browser = newBrowser();
  const parameters = await authorize(testServer.baseUrl, client, { login, browser });
  const { body } = await redeem(testServer.baseUrl, client, parameters.get("code"));
  const upstream = browser.history.find(({ url }) =>
    url.startsWith(`${testServer.identityProvider.issuer}/auth?`),
  );
  return { tokens: body, scope: body.scope ?? "", asked: new URL(upstream?.url ?? "").searchParams };
}

/** Later, when the provider's own token has to be renewed. */
async function scopeAfterRenewal(testServer: TestServer, client: Registered, refreshToken: string) {
  testServer.clock.ahead += 200;
  const { status, body } = await refresh(testServer.baseUrl, client, refreshToken);
  assert.equal(status, 200);
  return { scope: body.scope ?? "", tokens: body };
}

describe("SCOPES_FROM", () => {
  const nowhere: ProviderBehaviour = { scopeClaim: "none", permissionsClaim: false };
  const table: Array<[string, ProviderBehaviour, string]> = [
    ["response", nowhere, "weather:read"],
    ["scope", { ...nowhere, scopeClaim: "scope" }, "weather:read"],
    ["scp", { ...nowhere, scopeClaim: "scp" }, "weather:read"],
    ["permissions", { ...nowhere, permissionsClaim: true }, "weather:read"],
    ["scope,permissions", { ...nowhere, permissionsClaim: true }, "weather:read"],
    ["scope", { ...nowhere, scopeClaim: "scp", permissionsClaim: true }, ""],
    ["permissions", { ...nowhere, scopeClaim: "scope" }, ""],
  ];
  for (const [from, behaviour, expected] of table)
    test(`${from}, at a provider ${JSON.stringify(behaviour)}: "${expected}"`, () =>
      withTestServer({ behaviour, environment: { SCOPES_FROM: from } }, async (testServer, client) => {
        const { scope, asked } = await signedIn(testServer, client);
        assert.equal(scope, expected);
        assert.match(asked.get("scope") ?? "", /weather:read/, "asked for all the same");
      }));

  test("permissions: who lost one at the provider loses it here at the next renewal", () =>
    withTestServer({ behaviour: { accessTokenSeconds: 300 } }, async (testServer, client) => {
      const { tokens } = await signedIn(testServer, client);
      testServer.identityProvider.changeUser("alice", { permissions: [] });
      assert.equal((await scopeAfterRenewal(testServer, client, tokens.refresh_token)).scope, "");
    }));
});

describe("SCOPES_FROM=consent", () => {
  const environment = { SCOPES_FROM: "consent" };

  test("at a provider like Google: what the user consents to is granted, and stays granted", () =>
    withTestServer(
      {
        behaviour: { ...GOOGLE, accessTokenSeconds: 300 },
        environment: {
          ...environment,
          OIDC_AUDIENCE: "",
          OIDC_AUTHORIZATION_PARAMETERS: "access_type=offline&prompt=consent",
        },
      },
      async (testServer, client) => {
        const { scope, tokens, asked } = await signedIn(testServer, client);
        assert.equal(scope, "weather:read");
        assert.doesNotMatch(asked.get("scope") ?? "", /weather/);
        const call = await callTool(testServer.url, tokens.access_token, "current_weather", {
          city: "Berlin",
        });
        assert.equal(call.status, 200);
        const renewed = await scopeAfterRenewal(testServer, client, tokens.refresh_token);
        assert.equal(renewed.scope, "weather:read");
      },
    ));

  test("without it such a provider's users have no scopes", () =>
    withTestServer({ behaviour: GOOGLE, environment: { OIDC_AUDIENCE: "" } }, async (testServer, client) => {
      assert.equal((await signedIn(testServer, client)).scope, "");
    }));

  test("nothing more than was asked for is granted", () =>
    withTestServer(
      { behaviour: GOOGLE, environment, scopes: { "other:write": "Write" } },
      async (testServer, client) => {
        const tokens = await signInForTokens(testServer.baseUrl, client, {
          parameters: { scope: "weather:read" },
        });
        assert.equal(tokens.scope, "weather:read");
      },
    ));

  test("a provider that offers the scopes is not asked for them either", () =>
    withTestServer({ environment }, async (testServer, client) => {
      const { scope, asked } = await signedIn(testServer, client, "bob");
      assert.doesNotMatch(asked.get("scope") ?? "", /weather/);
      assert.equal(scope, "weather:read", "bob's lack of permissions there means nothing");
    }));
});

describe("SCOPES_FROM=claim", () => {
  const people: Array<[string, unknown, string]> = [
    ["a text with spaces", "Weather Forecaster", "weather:read"],
    ["a list", ["Cook", "Weather Forecaster"], "weather:read"],
    ["another role", ["Cook"], ""],
    ["part of a name", ["Weather", "Forecaster"], ""],
    ["another case", "weather forecaster", ""],
    ["a scope instead of a role", "weather:read", ""],
    ["an empty list", [], ""],
    ["a number", 7, ""],
    ["true", true, ""],
    ["null", null, ""],
    ["an object", { "Weather Forecaster": true }, ""],
    ["lists within a list", [["Weather Forecaster"], { role: "Weather Forecaster" }], ""],
    ["what every object has", ["constructor", "__proto__", "toString", "hasOwnProperty"], ""],
  ];
  const users = people.map(
    ([name, roles], index): DemoUser => ({
      ...ALICE,
      subject: `user-${index}`,
      name,
      claims: { roles },
    }),
  );
  for (const [place, behaviour] of [
    ["the access token", { claimsInAccessToken: true }],
    ["the ID token", {}],
    ["userinfo", { accessTokens: "opaque" }],
  ] satisfies Array<[string, ProviderBehaviour]>)
    describe(`in ${place}`, () => {
      let client: Registered;
      const testServer = useTestServer({ behaviour, users, environment: byRole });
      before(async () => {
        client = await register(testServer.baseUrl);
      });

      // What a value means is the same in each place, and test/access/claims.test.ts asks it of the function.
      const shapes = place === "the access token" ? people : people.slice(0, 4);
      for (const [index, [name, , expected]] of shapes.entries())
        test(`${name}: "${expected}"`, async () =>
          assert.equal((await signedIn(testServer, client, `user-${index}`)).scope, expected));

      test("no claim at all: none, whatever the provider's own scopes say", async () =>
        assert.equal((await signedIn(testServer, client, "somebody else")).scope, ""));
    });

  const places: Array<[string, Record<string, unknown>]> = [
    ["https://example.com/roles", { "https://example.com/roles": ["Weather Forecaster"] }],
    ["realm_access.roles", { realm_access: { roles: ["Weather Forecaster"] } }],
  ];
  for (const [path, claims] of places)
    test(`found as ${path}`, () =>
      withTestServer(
        { users: [{ ...BOB, claims }], environment: { ...byRole, SCOPE_CLAIM: path } },
        async (testServer, client) =>
          assert.equal((await signedIn(testServer, client, "bob")).scope, "weather:read"),
      ));

  test("without a map the values are scopes", () =>
    withTestServer(
      {
        users: [
          { ...BOB, claims: { grants: "other:read weather:read" } },
          { ...ALICE, claims: { grants: ["weather:read"] } },
        ],
        environment: { SCOPES_FROM: "claim", SCOPE_CLAIM: "grants" },
      },
      async (testServer, client) => {
        assert.equal((await signedIn(testServer, client, "bob")).scope, "weather:read");
        assert.equal((await signedIn(testServer, client, "alice")).scope, "weather:read");
      },
    ));

  const forecaster: DemoUser = { ...ALICE, claims: { roles: ["Weather Forecaster"] } };
  for (const [place, behaviour] of [
    ["the access token", { claimsInAccessToken: true }],
    ["userinfo", { accessTokens: "opaque" }],
  ] satisfies Array<[string, ProviderBehaviour]>)
    test(`a role in ${place} that was lost takes the scope away at the next renewal`, () =>
      withTestServer(
        {
          behaviour: { ...behaviour, accessTokenSeconds: 300 },
          users: [forecaster],
          environment: byRole,
        },
        async (testServer, client) => {
          const { scope, tokens } = await signedIn(testServer, client);
          assert.equal(scope, "weather:read");
          const unchanged = await scopeAfterRenewal(testServer, client, tokens.refresh_token);
          assert.equal(unchanged.scope, "weather:read", "who keeps the role keeps the scope");
          testServer.identityProvider.changeUser("alice", { claims: { roles: [] } });
          const lost = await scopeAfterRenewal(testServer, client, unchanged.tokens.refresh_token);
          assert.equal(lost.scope, "");
          const call = await callTool(testServer.url, lost.tokens.access_token, "current_weather", {
            city: "Berlin",
          });
          assert.equal(call.status, 403);
        },
      ));

  test("a role that only ID tokens tell of is looked at again at the next sign-in, not before", () =>
    withTestServer(
      { behaviour: { accessTokenSeconds: 300 }, users: [forecaster], environment: byRole },
      async (testServer, client) => {
        const { tokens } = await signedIn(testServer, client);
        testServer.identityProvider.changeUser("alice", { claims: { roles: [] } });
        const renewed = await scopeAfterRenewal(testServer, client, tokens.refresh_token);
        assert.equal(renewed.scope, "weather:read");
        assert.equal((await signedIn(testServer, client)).scope, "");
      },
    ));
});

describe("AUTH0_ORGANIZATION", () => {
  const acme = { id: "org_1", name: "acme" };
  const inAcme: TestServerOptions = {
    users: [{ ...ALICE, organization: acme }, BOB],
    adjust: (config) => ({
      ...config,
      identityProviders: [{ ...config.identityProviders[0], preset: "auth0", organization: "org_1" }],
      membership: { ...config.membership, auth0Organization: "org_1" },
    }),
  };

  test("is asked for, and the sign-in is for it", () =>
    withTestServer(inAcme, async (testServer, client) => {
      const { asked, tokens } = await signedIn(testServer, client);
      assert.equal(asked.get("organization"), "org_1");
      assert.equal(claimsIn(await testServer.grantOf(tokens.access_token)).org_id, "org_1");
    }));

  test("lets nobody else in", () =>
    withTestServer(inAcme, async (testServer, client) => {
      // The provider says why, which the person is shown before the client hears of it.
      await assert.rejects(
        authorize(testServer.baseUrl, client, { login: "bob" }),
        /\(403\).*not part of the org_1 organization.*Back to your application/s,
      );
    }));
});

describe("a claim of roles in another shape", () => {
  const ZITADEL = "urn:zitadel:iam:org:project:roles";
  const withClaim = (claim: string, value: unknown, story: Parameters<typeof withTestServer>[1]) =>
    withTestServer(
      {
        users: [{ ...ALICE, claims: { [claim]: value } }],
        environment: {
          SCOPES_FROM: "claim",
          SCOPE_CLAIM: claim,
          SCOPE_CLAIM_MAP: '{"forecaster":["weather:read"]}',
        },
      },
      story,
    );

  test("Zitadel's, an object keyed by role, gives what the roles give", () =>
    withClaim(ZITADEL, { forecaster: { "1698": "acme.zitadel.cloud" } }, async (testServer, client) => {
      assert.equal((await signedIn(testServer, client)).scope, "weather:read");
      assert.ok(!testServer.log.some(({ reason }) => reason === "claim_not_understood"));
    }));

  for (const value of [
    { forecaster: {} },
    "[forecaster, other]",
    "forecaster,other",
    [{ name: "forecaster" }],
  ])
    test(`${JSON.stringify(value)} gives nothing, which the log says once, without the value`, () =>
      withClaim("roles", value, async (testServer, client) => {
        for (let i = 0; i < 2; i++) assert.equal((await signedIn(testServer, client)).scope, "");
        const lines = testServer.log.filter(({ reason }) => reason === "claim_not_understood");
        assert.deepEqual(
          lines.map(({ claim }) => claim),
          ["roles"],
        );
        assert.doesNotMatch(JSON.stringify(lines), /forecaster/);
      }));
});
