/** What a sign-in asks a provider for, by what discovery lists and what OIDC_SCOPES names. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { scopesToAsk, unaskedScopes } from "../../src/identity/asked-scopes.ts";
import type { IdentityProviderSettings } from "../../src/identity/settings.ts";

type AskedProvider = Parameters<typeof scopesToAsk>[0];
const TOOLS = ["weather:read"];
const LISTED = { scopes_supported: ["openid", "email"] };
const tokens: IdentityProviderSettings["scopeSources"] = { kind: "provider", tokens: ["response"] };
const oidc: AskedProvider = { preset: "oidc", scopeSources: tokens };

const cases: Array<
  [who: string, provider: AskedProvider, metadata: object, asked: string, unasked: string[]]
> = [
  ["lists nothing", oidc, {}, "openid profile email offline_access weather:read", []],
  ["lists others", oidc, LISTED, "openid email", TOOLS],
  ["lists them", oidc, { scopes_supported: ["openid", ...TOOLS] }, "openid weather:read", []],
  [
    "lists others, and OIDC_SCOPES names it",
    { ...oidc, scopes: ["openid", "weather:read"] },
    LISTED,
    "openid weather:read",
    [],
  ],
  [
    "has a longer name for it (Entra)",
    { ...oidc, scopes: ["openid", "api://id/weather:read"] },
    LISTED,
    "openid api://id/weather:read",
    [],
  ],
  [
    "has a name for all (Entra)",
    { ...oidc, scopes: ["openid", "api://id/.default"] },
    LISTED,
    "openid api://id/.default",
    [],
  ],
  [
    "is asked for one that only ends alike",
    { ...oidc, scopes: ["openid", "x-weather:read"] },
    LISTED,
    "openid x-weather:read",
    TOOLS,
  ],
  ["is Auth0", { ...oidc, preset: "auth0" }, LISTED, "openid email weather:read", []],
  ["only says who somebody is", { ...oidc, scopeSources: { kind: "consent" } }, LISTED, "openid email", []],
  [
    "names them in a claim",
    { ...oidc, scopeSources: { kind: "provider", tokens: [], claim: { path: "roles" } } },
    LISTED,
    "openid email",
    [],
  ],
];

describe("a provider that …", () => {
  for (const [who, provider, metadata, asked, unasked] of cases)
    test(`${who} is asked for: ${asked}`, () => {
      assert.equal(scopesToAsk(provider, { ...metadata }, TOOLS).join(" "), asked);
      assert.deepEqual(unaskedScopes(provider, { ...metadata }, TOOLS), unasked);
    });
});
