/** Where a user's scopes come from, over HTTP: what the operator believes, and nothing else, becomes a scope here. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type Character, type DemoUser, GOOGLE } from "../../dev/identity-provider/identity-provider.ts";
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
import { ALICE, BOB, type Stage, type StageOptions, startStage } from "../support/test-server.ts";

const ROLE_MAP =
  '{"Weather Forecaster":["weather:read"],"[object Object]":["weather:read"],"7":["weather:read"]}';
const byRole = { SCOPES_FROM: "claim", SCOPE_CLAIM: "roles", SCOPE_CLAIM_MAP: ROLE_MAP };

async function withStage(options: StageOptions, story: (stage: Stage, client: Registered) => Promise<void>) {
  const stage = await startStage(options);
  try {
    await story(stage, await register(stage.baseUrl));
  } finally {
    await stage.close();
  }
}

/** Signs in and says which scopes came of it, and what the provider was asked. */
async function signedIn(stage: Stage, client: Registered, login = "alice") {
  const browser = newBrowser();
  const parameters = await authorize(stage.baseUrl, client, { login, browser });
  const { body } = await redeem(stage.baseUrl, client, parameters.get("code"));
  const upstream = browser.history.find(({ url }) =>
    url.startsWith(`${stage.identityProvider.issuer}/auth?`),
  );
  return { tokens: body, scope: body.scope ?? "", asked: new URL(upstream?.url ?? "").searchParams };
}

/** Later, when the provider's own token has to be renewed. */
async function scopeAfterRenewal(stage: Stage, client: Registered, refreshToken: string) {
  stage.clock.ahead += 200;
  const { status, body } = await refresh(stage.baseUrl, client, refreshToken);
  assert.equal(status, 200);
  return { scope: body.scope ?? "", tokens: body };
}

describe("SCOPES_FROM", () => {
  const nowhere: Character = { scopeClaim: "none", permissionsClaim: false };
  const table: Array<[string, Character, string]> = [
    ["response", nowhere, "weather:read"],
    ["scope", { ...nowhere, scopeClaim: "scope" }, "weather:read"],
    ["scp", { ...nowhere, scopeClaim: "scp" }, "weather:read"],
    ["permissions", { ...nowhere, permissionsClaim: true }, "weather:read"],
    ["scope,permissions", { ...nowhere, permissionsClaim: true }, "weather:read"],
    ["scope", { ...nowhere, scopeClaim: "scp", permissionsClaim: true }, ""],
    ["permissions", { ...nowhere, scopeClaim: "scope" }, ""],
  ];
  for (const [from, character, expected] of table)
    test(`${from}, at a provider ${JSON.stringify(character)}: "${expected}"`, () =>
      withStage({ character, environment: { SCOPES_FROM: from } }, async (stage, client) => {
        const { scope, asked } = await signedIn(stage, client);
        assert.equal(scope, expected);
        assert.match(asked.get("scope") ?? "", /weather:read/, "asked for all the same");
      }));

  test("permissions: who lost one at the provider loses it here at the next renewal", () =>
    withStage({ character: { accessTokenSeconds: 300 } }, async (stage, client) => {
      const { tokens } = await signedIn(stage, client);
      stage.identityProvider.changeUser("alice", { permissions: [] });
      assert.equal((await scopeAfterRenewal(stage, client, tokens.refresh_token)).scope, "");
    }));
});

describe("SCOPES_FROM=consent", () => {
  const environment = { SCOPES_FROM: "consent" };

  test("at a provider like Google: what the user consents to is granted, and stays granted", () =>
    withStage(
      {
        character: { ...GOOGLE, accessTokenSeconds: 300 },
        environment: {
          ...environment,
          OIDC_AUDIENCE: "",
          OIDC_AUTHORIZATION_PARAMETERS: "access_type=offline&prompt=consent",
        },
      },
      async (stage, client) => {
        const { scope, tokens, asked } = await signedIn(stage, client);
        assert.equal(scope, "weather:read");
        assert.doesNotMatch(asked.get("scope") ?? "", /weather/);
        const call = await callTool(stage.url, tokens.access_token, "current_weather", { city: "Berlin" });
        assert.equal(call.status, 200);
        const renewed = await scopeAfterRenewal(stage, client, tokens.refresh_token);
        assert.equal(renewed.scope, "weather:read");
      },
    ));

  test("without it such a provider's users have no scopes", () =>
    withStage({ character: GOOGLE, environment: { OIDC_AUDIENCE: "" } }, async (stage, client) => {
      assert.equal((await signedIn(stage, client)).scope, "");
    }));

  test("nothing more than was asked for is granted", () =>
    withStage(
      { character: GOOGLE, environment, scopes: { "other:write": "Write" } },
      async (stage, client) => {
        const tokens = await signInForTokens(stage.baseUrl, client, {
          parameters: { scope: "weather:read" },
        });
        assert.equal(tokens.scope, "weather:read");
      },
    ));

  test("a provider that offers the scopes is not asked for them either", () =>
    withStage({ environment }, async (stage, client) => {
      const { scope, asked } = await signedIn(stage, client, "bob");
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
  for (const [place, character] of [
    ["the access token", { claimsInAccessToken: true }],
    ["the ID token", {}],
    ["userinfo", { accessTokens: "opaque" }],
  ] satisfies Array<[string, Character]>)
    describe(`in ${place}`, () => {
      let stage: Stage;
      let client: Registered;
      before(async () => {
        stage = await startStage({ character, users, environment: byRole });
        client = await register(stage.baseUrl);
      });
      after(() => stage.close());

      for (const [index, [name, , expected]] of people.entries())
        test(`${name}: "${expected}"`, async () =>
          assert.equal((await signedIn(stage, client, `user-${index}`)).scope, expected));

      test("no claim at all: none, whatever the provider's own scopes say", async () =>
        assert.equal((await signedIn(stage, client, "somebody else")).scope, ""));
    });

  const places: Array<[string, Record<string, unknown>]> = [
    ["https://example.com/roles", { "https://example.com/roles": ["Weather Forecaster"] }],
    ["realm_access.roles", { realm_access: { roles: ["Weather Forecaster"] } }],
  ];
  for (const [path, claims] of places)
    test(`found as ${path}`, () =>
      withStage(
        { users: [{ ...BOB, claims }], environment: { ...byRole, SCOPE_CLAIM: path } },
        async (stage, client) => assert.equal((await signedIn(stage, client, "bob")).scope, "weather:read"),
      ));

  test("without a map the values are scopes", () =>
    withStage(
      {
        users: [
          { ...BOB, claims: { grants: "other:read weather:read" } },
          { ...ALICE, claims: { grants: ["weather:read"] } },
        ],
        environment: { SCOPES_FROM: "claim", SCOPE_CLAIM: "grants" },
      },
      async (stage, client) => {
        assert.equal((await signedIn(stage, client, "bob")).scope, "weather:read");
        assert.equal((await signedIn(stage, client, "alice")).scope, "weather:read");
      },
    ));

  const forecaster: DemoUser = { ...ALICE, claims: { roles: ["Weather Forecaster"] } };
  for (const [place, character] of [
    ["the access token", { claimsInAccessToken: true }],
    ["userinfo", { accessTokens: "opaque" }],
  ] satisfies Array<[string, Character]>)
    test(`a role in ${place} that was lost takes the scope away at the next renewal`, () =>
      withStage(
        {
          character: { ...character, accessTokenSeconds: 300 },
          users: [forecaster],
          environment: byRole,
        },
        async (stage, client) => {
          const { scope, tokens } = await signedIn(stage, client);
          assert.equal(scope, "weather:read");
          const unchanged = await scopeAfterRenewal(stage, client, tokens.refresh_token);
          assert.equal(unchanged.scope, "weather:read", "who keeps the role keeps the scope");
          stage.identityProvider.changeUser("alice", { claims: { roles: [] } });
          const lost = await scopeAfterRenewal(stage, client, unchanged.tokens.refresh_token);
          assert.equal(lost.scope, "");
          const call = await callTool(stage.url, lost.tokens.access_token, "current_weather", {
            city: "Berlin",
          });
          assert.equal(call.status, 403);
        },
      ));

  test("a role that only ID tokens tell of is looked at again at the next sign-in, not before", () =>
    withStage(
      { character: { accessTokenSeconds: 300 }, users: [forecaster], environment: byRole },
      async (stage, client) => {
        const { tokens } = await signedIn(stage, client);
        stage.identityProvider.changeUser("alice", { claims: { roles: [] } });
        const renewed = await scopeAfterRenewal(stage, client, tokens.refresh_token);
        assert.equal(renewed.scope, "weather:read");
        assert.equal((await signedIn(stage, client)).scope, "");
      },
    ));
});

describe("AUTH0_ORGANIZATION", () => {
  const acme = { id: "org_1", name: "acme" };
  const inAcme: StageOptions = {
    users: [{ ...ALICE, organization: acme }, BOB],
    adjust: (config) => ({
      ...config,
      upstream: { ...config.upstream, preset: "auth0", organization: "org_1" },
      membership: { ...config.membership, auth0Organization: "org_1" },
    }),
  };

  test("is asked for, and the sign-in is for it", () =>
    withStage(inAcme, async (stage, client) => {
      const { asked, tokens } = await signedIn(stage, client);
      assert.equal(asked.get("organization"), "org_1");
      assert.equal((await stage.grantOf(tokens.access_token))?.claims.org_id, "org_1");
    }));

  test("lets nobody else in", () =>
    withStage(inAcme, async (stage, client) => {
      // The provider says why, which the person is shown before the client hears of it.
      await assert.rejects(
        authorize(stage.baseUrl, client, { login: "bob" }),
        /\(403\).*not part of the org_1 organization.*Back to your application/s,
      );
    }));
});

describe("a claim of roles in another shape", () => {
  const ZITADEL = "urn:zitadel:iam:org:project:roles";
  const withClaim = (claim: string, value: unknown, story: Parameters<typeof withStage>[1]) =>
    withStage(
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
    withClaim(ZITADEL, { forecaster: { "1698": "acme.zitadel.cloud" } }, async (stage, client) => {
      assert.equal((await signedIn(stage, client)).scope, "weather:read");
      assert.ok(!stage.log.some(({ reason }) => reason === "claim_not_understood"));
    }));

  for (const value of [
    { forecaster: {} },
    "[forecaster, other]",
    "forecaster,other",
    [{ name: "forecaster" }],
  ])
    test(`${JSON.stringify(value)} gives nothing, which the log says once, without the value`, () =>
      withClaim("roles", value, async (stage, client) => {
        for (let i = 0; i < 2; i++) assert.equal((await signedIn(stage, client)).scope, "");
        const lines = stage.log.filter(({ reason }) => reason === "claim_not_understood");
        assert.deepEqual(
          lines.map(({ claim }) => claim),
          ["roles"],
        );
        assert.doesNotMatch(JSON.stringify(lines), /forecaster/);
      }));
});
