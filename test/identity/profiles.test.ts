/** What an identity provider does differently: whose profile is chosen for which issuer, and what each says. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { pino } from "pino";
import { findingsIn } from "../../src/cli/doctor/finding.ts";
import { judgeSignIn, type Outcome } from "../../src/cli/doctor/provider-sign-in.ts";
import { loadConfig } from "../../src/config/config.ts";
import { createOidcProvider } from "../../src/identity/oidc/oidc.ts";
import { auth0, refusesAudience } from "../../src/identity/profiles/auth0.ts";
import { entra } from "../../src/identity/profiles/entra.ts";
import { generic } from "../../src/identity/profiles/generic.ts";
import { google } from "../../src/identity/profiles/google.ts";
import { PROFILES, profileOf, profileOfIssuer } from "../../src/identity/profiles/profiles.ts";
import type { ProviderProfile } from "../../src/identity/profiles/provider-profile.ts";
import { systemClock } from "../../src/runtime/runtime.ts";
import { lineOf, NOTHING_WORKS } from "../doctor/support.ts";

const TENANT = "3f8c2a40-6d1e-4b7a-9c55-0e2d7b91a6f4";

describe("the profile", () => {
  /** By its host; and as which it is treated by the settings OIDC_…. */
  const cases: Array<[issuer: string, whose: ProviderProfile, treatedAs?: ProviderProfile]> = [
    ["https://tenant.eu.auth0.com/", auth0, generic],
    ["https://auth0.com.example.com/", generic],
    ["https://accounts.google.com", google],
    ["https://accounts.google.com/", google],
    ["https://accounts.google.com.example.com", generic],
    ["http://accounts.google.com", generic],
    ["https://accounts.google.com/elsewhere", generic],
    [`https://login.microsoftonline.com/${TENANT}/v2.0`, entra],
    ["https://login.microsoftonline.com/contoso.com/v2.0", entra],
    ["https://acme.b2clogin.com/acme.onmicrosoft.com/b2c_1/v2.0", entra],
    ["https://login.microsoftonline.com.example.com/x/v2.0", generic],
    ["https://evil-b2clogin.com/x", generic],
    ["https://example.com/login.microsoftonline.com/v2.0", generic],
    ["https://dev-1.okta.com/oauth2/default", generic],
    ["https://keycloak.example.com/realms/main", generic],
    ["http://localhost:3001", generic],
    ["nonsense", generic],
  ];
  for (const [issuer, whose, treatedAs = whose] of cases)
    test(`for ${issuer} is ${whose.name}, and by OIDC_… it is treated as ${treatedAs.name}`, () => {
      assert.equal(profileOfIssuer(issuer).name, whose.name);
      assert.equal(profileOf({ preset: "oidc", issuer }).name, treatedAs.name);
    });

  test("is Auth0's by the settings AUTH0_…, under whatever domain", () => {
    for (const issuer of ["https://tenant.eu.auth0.com/", "https://login.example.com/"])
      assert.equal(profileOf({ preset: "auth0", issuer }), auth0);
  });

  test("is the preset's where no issuer is named", () => {
    assert.equal(profileOf({ preset: "oidc" }), generic);
    assert.equal(profileOf({ preset: "auth0" }), auth0);
  });
});

test("what each does differently", () => {
  const differences = PROFILES.map((profile) => ({
    name: profile.name,
    secretMethod: profile.secretMethod,
    listsApiScopes: profile.listsApiScopes,
    promptForAnother: profile.promptForAnother,
    namesIssuerOtherwise: profile.namesIssuerOtherwise,
    endSessionUrl: profile.endSessionUrl?.("https://tenant.eu.auth0.com/"),
    issuerSetting: profile.setup.issuerSetting("https://tenant.eu.auth0.com/"),
  }));
  const usual = {
    secretMethod: undefined,
    listsApiScopes: true,
    promptForAnother: "login",
    namesIssuerOtherwise: false,
    endSessionUrl: undefined,
    issuerSetting: "OIDC_ISSUER=https://tenant.eu.auth0.com/",
  };
  assert.deepEqual(differences, [
    {
      ...usual,
      name: "auth0",
      secretMethod: "client_secret_post",
      listsApiScopes: false,
      endSessionUrl: "https://tenant.eu.auth0.com/v2/logout",
      issuerSetting: "AUTH0_DOMAIN=tenant.eu.auth0.com",
    },
    { ...usual, name: "google", promptForAnother: "select_account" },
    { ...usual, name: "entra", namesIssuerOtherwise: true },
    { ...usual, name: "generic" },
  ]);
});

test("each names the settings by which it is configured, and no others", () => {
  for (const { name, setup } of PROFILES) {
    const [own, others] = name === "auth0" ? ["AUTH0_", "OIDC_"] : ["OIDC_", "AUTH0_"];
    const { credentialsRemedy, audienceRemedy, settings } = setup;
    const hint = setup.issuerRemedy("https://login.example.com");
    for (const text of [...Object.values(settings), credentialsRemedy, audienceRemedy, hint]) {
      assert.ok(text.includes(own), `${name}: ${text}`);
      assert.ok(!text.includes(others), `${name}: ${text}`);
    }
  }
});

describe("where there is no discovery document, the remedy", () => {
  const cases: Array<[issuer: string, remedy: RegExp]> = [
    ["https://login.microsoftonline.com/common/v2.0", /login\.microsoftonline\.com\/TENANT-ID\/v2\.0/],
    ["https://acme.b2clogin.com/acme/v2.0", /as the provider shows it/],
    ["https://accounts.google.com/x", /as the provider shows it/],
    ["https://dev-1.okta.com", /https:\/\/dev-1\.okta\.com\/oauth2\/default/],
    [
      "https://keycloak.example.com/auth/realms/a",
      /try OIDC_ISSUER=https:\/\/keycloak\.example\.com\/realms\/a\./,
    ],
    ["https://login.example.com", /as the provider shows it/],
  ];
  for (const [issuer, remedy] of cases)
    test(`for ${issuer}`, () =>
      assert.match(profileOf({ preset: "oidc", issuer }).setup.issuerRemedy(issuer), remedy));
});

test("a refusal of the API is told from the user's no by Auth0's words", () => {
  assert.equal(refusesAudience("Service not found: https://api.example.com"), true);
  assert.equal(refusesAudience("Service not enabled within domain: https://api.example.com"), true);
  assert.equal(refusesAudience("User did not authorize the request"), false);
  assert.equal(refusesAudience(undefined), false);
});

test("error pages: Google's address says it in base64, Entra's page by a code of its own", () => {
  const authError = Buffer.from("redirect_uri_mismatch").toString("base64");
  const said = google.errorPages?.ofAddress?.(new URLSearchParams({ authError }));
  assert.equal(said, "redirect_uri_mismatch");
  assert.equal(google.errorPages?.ofAddress?.(new URLSearchParams()), "");
  assert.deepEqual(entra.errorPages?.codes, { callback: ["AADSTS50011"], client: ["AADSTS700016"] });
});

describe("asked of the profile:", () => {
  /** The provider's discovery document alone is answered, by whoever the issuer is. */
  async function promptOf(issuer: string): Promise<string | null> {
    const { fetch } = globalThis;
    const metadata = {
      issuer,
      authorization_endpoint: `${issuer}/auth`,
      token_endpoint: `${issuer}/token`,
      jwks_uri: `${issuer}/keys`,
    };
    globalThis.fetch = async () => Response.json(metadata);
    try {
      const {
        identityProviders: [upstream],
      } = loadConfig({ ...NOTHING_WORKS, OIDC_ISSUER: issuer });
      const provider = createOidcProvider(upstream, {
        now: systemClock,
        randomBytes,
        log: pino({ level: "silent" }),
      });
      const request = {
        redirectUri: "https://mcp.example.com/auth/callback",
        state: "s",
        nonce: "n",
        codeVerifier: "v".repeat(43),
      };
      return (await provider.identificationUrl(request, true)).searchParams.get("prompt");
    } finally {
      globalThis.fetch = fetch;
    }
  }

  test("which prompt lets somebody else sign in", async () => {
    assert.equal(await promptOf("https://accounts.google.com"), "select_account");
    assert.equal(await promptOf("https://login.example.com"), "login");
  });

  test("in which words the doctor names what is wrong", () => {
    const [callbackUrl, audience] = ["https://mcp.example.com/auth/callback", "https://api.example.com"];
    const fixes = (profile: ProviderProfile, outcome: Outcome) =>
      findingsIn(judgeSignIn({ outcome }, "accepted", { callbackUrl, audience, profile }))
        .map(lineOf)
        .join("\n");
    const mismatch: Outcome = { kind: "page", status: 403, text: "Callback URL mismatch." };
    const noApi: Outcome = { kind: "callback", error: "access_denied", description: "Service not found: x" };
    assert.match(
      fixes(auth0, mismatch),
      /Allowed Callback URLs: https:\/\/mcp\.example\.com\/auth\/callback$/,
    );
    assert.match(fixes(generic, mismatch), /Register this redirect URI at the provider: https:/);
    assert.match(fixes(auth0, noApi), /into AUTH0_AUDIENCE/);
    assert.match(fixes(entra, noApi), /Set OIDC_AUDIENCE/);
  });

  test("which provider needs an audience: Auth0 alone", () =>
    assert.deepEqual(
      PROFILES.filter(({ setup }) => setup.withoutAudience !== undefined).map(({ name }) => name),
      ["auth0"],
    ));
});
