/** One identity provider with many tenants (Entra ID): those that the operator lists sign in, each with users of its own. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { Browser } from "../../dev/client/browser.ts";
import { assertRefusedPage, type Reply } from "../attacks/support.ts";
import { entriesOn } from "../support/connections.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import {
  authorizeUrl,
  callTool,
  REDIRECT_URI,
  type Registered,
  redeem,
  refresh,
  register,
  type Tokens,
} from "../support/oauth-client.ts";
import { signIn } from "../support/sign-in.ts";
import { startTenants, type Tenants } from "../support/tenants.ts";
import { startTestServer, type TestServer } from "../support/test-server.ts";

const ACME = "3aa4a235-b6e2-48d5-9195-7fcf05b459b0";
const PARTNER = "0b2a9c1e-7f53-4a1d-9a3e-5c6f2d8e4b17";
const STRANGER = "99999999-7f53-4a1d-9a3e-5c6f2d8e4b17";

describe("a provider with many tenants", () => {
  let testServer: TestServer;
  let upstream: FaultyProxy;
  let tenants: Tenants;
  let client: Registered;

  before(async () => {
    upstream = await startFaultyProxy();
    tenants = await startTenants(upstream, ACME);
    testServer = await startTestServer({
      throughProxy: upstream,
      environment: { OIDC_ISSUER: tenants.issuer, OIDC_TENANTS: `${ACME.toUpperCase()},${PARTNER}` },
    });
    client = await register(testServer.baseUrl);
  });
  afterEach(() => {
    tenants.tenant = ACME;
    tenants.idToken = {};
    tenants.accessToken = {};
  });
  after(async () => {
    await testServer.close();
    await tenants.close();
    await upstream.close();
  });

  /** A browser that comes back from the provider, which tells no `iss` there, as Entra does not. */
  async function arriving(
    url = authorizeUrl(testServer.baseUrl, client),
  ): Promise<{ browser: Browser; callback: URL }> {
    const isBack = ({ pathname, href }: URL) =>
      pathname === "/auth/callback" || href.startsWith(REDIRECT_URI);
    const browser = new Browser({ stopAt: isBack });
    const callback = await signIn(browser, url);
    callback.searchParams.delete("iss");
    return { browser, callback };
  }

  async function signedIn(tenant: string): Promise<Tokens> {
    tenants.tenant = tenant;
    const { browser, callback } = await arriving();
    const page = await browser.get(callback);
    const { status, body } = await redeem(
      testServer.baseUrl,
      client,
      page.redirectedTo?.searchParams.get("code") ?? null,
    );
    assert.equal(status, 200, page.body.slice(0, 500));
    return body;
  }

  test("signs in users of each listed tenant, by that tenant's issuer, and renews them", async () => {
    for (const tenant of [ACME, PARTNER]) {
      const tokens = await signedIn(tenant);
      const { principal, upstream: before } = (await testServer.grantOf(tokens.access_token)) ?? {};
      assert.deepEqual(
        principal?.kind === "user" && [principal.issuer, principal.subject, principal.claims.tid],
        [tenants.issuerOf(tenant), "alice", tenant],
      );
      testServer.clock.ahead += 3_500;
      const renewed = await refresh(testServer.baseUrl, client, tokens.refresh_token);
      assert.equal(renewed.status, 200, JSON.stringify(renewed.body));
      const grant = await testServer.grantOf(renewed.body.access_token);
      assert.notEqual(grant?.upstream?.accessToken, before?.accessToken);
      assert.equal((await callTool(testServer.url, renewed.body.access_token, "whoami")).status, 200);
      testServer.clock.ahead = 0;
    }
  });

  test("the same sub in two tenants is two people", async () => {
    const atAcme = await signedIn(ACME);
    const atPartner = await signedIn(PARTNER);
    tenants.tenant = PARTNER;
    const browser = new Browser({ stopAt: ({ pathname }) => pathname === "/auth/callback" });
    const page = await browser.get(`${testServer.baseUrl}/connections`);
    const login = await browser.submit(page, {}, { button: "Sign in" });
    const callback = (await browser.submit(login, { login: "alice" })).redirectedTo;
    callback?.searchParams.delete("iss");
    const shown = entriesOn(await browser.get(callback ?? "")).flatMap(({ grantIds }) => grantIds);
    const id = async ({ access_token }: Tokens) => (await testServer.grantOf(access_token))?.id ?? "";
    assert.ok(shown.includes(await id(atPartner)));
    assert.ok(!shown.includes(await id(atAcme)));
  });

  const ISSUER_OF = (tenant: string) => tenants.issuerOf(tenant);
  const foreign: Array<[what: string, set: () => void]> = [
    ["a tenant that is not listed", () => Object.assign(tenants, { tenant: STRANGER })],
    ["a tenant without an id", () => Object.assign(tenants, { idToken: { tid: undefined } })],
    [
      "a listed tid and the issuer of a stranger",
      () => Object.assign(tenants, { idToken: { iss: ISSUER_OF(STRANGER) } }),
    ],
    [
      "the tid of a stranger and a listed issuer",
      () => Object.assign(tenants, { idToken: { tid: STRANGER } }),
    ],
    ["the tid of another listed tenant", () => Object.assign(tenants, { idToken: { tid: PARTNER } })],
    ["the pattern as its issuer", () => Object.assign(tenants, { idToken: { iss: tenants.issuer } })],
    ["the pattern's word as its tenant", () => Object.assign(tenants, { tenant: "{tenantid}" })],
    ["the word for all tenants", () => Object.assign(tenants, { tenant: "organizations" })],
    ["a tid in upper case", () => Object.assign(tenants, { idToken: { tid: ACME.toUpperCase() } })],
    ["a list of tenants", () => Object.assign(tenants, { idToken: { tid: [ACME] } })],
  ];
  for (const [what, set] of foreign)
    test(`an ID token with ${what} signs nobody in`, async () => {
      set();
      const { browser, callback } = await arriving();
      const page = await browser.get(callback);
      await assertRefusedPage(testServer, { ...page, text: page.body } as unknown as Reply, {
        status: 400,
        error: "server_error",
        reason: "upstream_refused",
      });
      assert.match(page.body, /your account is of an organization that may not sign in here/);
    });

  test("an access token of another tenant than the ID token's signs nobody in", async () => {
    tenants.accessToken = { iss: tenants.issuerOf(PARTNER), tid: PARTNER };
    const { browser, callback } = await arriving();
    assert.equal((await browser.get(callback)).status, 400);
  });
});
