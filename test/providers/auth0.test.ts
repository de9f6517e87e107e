/**
 * Two tenants of Auth0 at one server, as far as the embedded provider behaves as they do: who is who, what they may do (RBAC), the
 * organization, and another API in their name. docs/providers/auth0.md.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeJwt } from "jose";
import { AUTH0 } from "../../dev/identity-provider/provider-profiles.ts";
import type { Config } from "../../src/config/config.ts";
import type { AtLeastOne } from "../../src/identity/identity-providers.ts";
import type { IdentityProviderSettings } from "../../src/identity/settings.ts";
import { defineTool, getAccessTokenFor } from "../../src/index.ts";
import { callTool, register, signInForTokens } from "../support/oauth-client.ts";
import { ALICE, AUDIENCE, useTestServer } from "../support/test-server.ts";

const ORDERS = "https://orders.example.com";
const API_CLIENT = { id: "custom-api-client", secret: "secret-of-the-custom-api-client" };
const MEMBER = { organization: { id: "org_acme", name: "acme" } };

/** What a real tool never does: shows the token. */
const exchange = defineTool({
  name: "exchange",
  description: "Shows what another API would be sent",
  run: () => getAccessTokenFor({ audience: ORDERS, scopes: ["orders:read"] }),
});

/** Auth0's preset has no place for an issuer on http://localhost. */
function asTenants(config: Config): Config {
  const [staff, ...others] = config.identityProviders;
  const auth0 = (each: IdentityProviderSettings) => ({ ...each, preset: "auth0" as const });
  const exchangeClient = {
    clientId: API_CLIENT.id,
    credential: { kind: "secret" as const, secret: API_CLIENT.secret },
  };
  const tenants: AtLeastOne<IdentityProviderSettings> = [
    { ...auth0(staff), exchangeClient, organization: "org_acme" },
    ...others.map(auth0),
  ];
  return { ...config, identityProviders: tenants };
}

describe("two tenants like Auth0's", () => {
  const testServer = useTestServer({
    behaviour: AUTH0,
    users: [{ ...ALICE, ...MEMBER, permissions: ["weather:read", "orders:read"] }],
    partners: { behaviour: AUTH0, users: [{ ...ALICE, name: "Alice elsewhere", permissions: [] }] },
    tools: [exchange],
    otherApis: { [ORDERS]: ["orders:read", "orders:write"] },
    apiClient: API_CLIENT,
    adjust: asTenants,
  });

  const signIn = async (identity_provider: string) =>
    signInForTokens(testServer.baseUrl, await register(testServer.baseUrl), {
      parameters: { identity_provider },
    });
  const whoami = async (accessToken: string) =>
    (await callTool(testServer.url, accessToken, "whoami")).body.result.structuredContent;

  test("alice of one is not alice of the other, and each has the permissions of her tenant", async () => {
    const [staff, partners] = [await signIn("staff"), await signIn("partners")];
    const [here, there] = [await whoami(staff.access_token), await whoami(partners.access_token)];
    assert.deepEqual([here.subject, here.name], ["alice", "Alice Example"]);
    assert.deepEqual([there.subject, there.name], ["alice", "Alice elsewhere"]);
    assert.notEqual(here.issuer, there.issuer);
    assert.ok(here.issuer.endsWith("/"), "as Auth0 writes it");
    assert.deepEqual([staff.scope, partners.scope], ["weather:read", ""]);
  });

  test("the organization is asked for at the tenant that has one, and named in the tokens", async () => {
    const { access_token: accessToken } = await signIn("staff");
    const grant = await testServer.grantOf(accessToken);
    assert.equal(grant?.principal.kind === "user" && grant.principal.claims.org_id, "org_acme");
    assert.deepEqual(decodeJwt(grant?.upstream?.accessToken ?? "").permissions, [
      "weather:read",
      "orders:read",
    ]);
    assert.equal(decodeJwt(grant?.upstream?.accessToken ?? "").aud, AUDIENCE);
  });

  test("on behalf of the user: the API's own client exchanges, and the other API sees the user", async () => {
    const { access_token: accessToken } = await signIn("staff");
    const { body } = await callTool(testServer.url, accessToken, "exchange");
    const { sub, aud, scope, client_id } = decodeJwt(body.result.content[0].text);
    assert.deepEqual([sub, aud, scope, client_id], ["alice", ORDERS, "orders:read", API_CLIENT.id]);
  });

  test("a tenant in which nothing was set up for that: an error, and whose to repair", async () => {
    const { access_token: accessToken } = await signIn("partners");
    const { body } = await callTool(testServer.url, accessToken, "exchange");
    assert.match(body.result.content[0].text, /not set up correctly.*operator has to repair/);
    const logged = testServer.log.findLast(({ reason }) => reason === "exchange_misconfigured");
    assert.match(String(logged?.cause), /OIDC_EXCHANGE_CLIENT_ID/);
  });
});
