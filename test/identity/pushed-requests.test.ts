/** Sign-in requests that go to the provider directly (RFC 9126), at a real one that requires them. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, describe, test } from "node:test";
import { pino } from "pino";
import { Browser } from "../../dev/client/browser.ts";
import { startIdentityProvider } from "../../dev/identity-provider/identity-provider.ts";
import type { ProviderBehaviour } from "../../dev/identity-provider/provider-profiles.ts";
import { loadConfig } from "../../src/config/config.ts";
import { createOidcProvider } from "../../src/identity/oidc/oidc.ts";
import { systemClock } from "../../src/runtime/runtime.ts";
import { signIn } from "../support/sign-in.ts";

const REDIRECT_URI = "http://localhost:9/auth/callback";
const REQUEST = {
  redirectUri: REDIRECT_URI,
  state: "a-state",
  nonce: "a-nonce",
  codeVerifier: "v".repeat(43),
  scopes: ["weather:read"],
};
const closers: Array<() => Promise<void>> = [];
after(() => Promise.all(closers.map((close) => close())));

async function clientOf(behaviour: ProviderBehaviour, environment: Record<string, string> = {}) {
  const { issuer, close } = await startIdentityProvider({
    port: 0,
    client: { id: "proxy", secret: "secret", redirectUris: [REDIRECT_URI] },
    audience: "https://weather.example.com",
    scopes: ["weather:read"],
    users: [{ subject: "alice", name: "Alice", email: "alice@example.com", permissions: ["weather:read"] }],
    behaviour,
  });
  closers.push(close);
  const {
    identityProviders: [settings],
  } = loadConfig({
    BASE_URL: "http://localhost:9",
    STORE: "memory",
    SECRET_KEY: "test-secret-key-with-more-than-32-bytes-0123456789",
    OIDC_ISSUER: issuer,
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "secret",
    ...environment,
  });
  return createOidcProvider(settings, { now: systemClock, randomBytes, log: pino({ level: "silent" }) });
}

const ALWAYS = { OIDC_PUSHED_AUTHORIZATION_REQUESTS: "always" };
const required: Array<[ProviderBehaviour, Record<string, string>]> = [
  [{ pushedRequests: "of all" }, {}],
  [{ pushedRequests: "of the client" }, ALWAYS],
];
for (const [behaviour, environment] of required)
  test(`required ${behaviour.pushedRequests}: the browser gets a reference alone, and the sign-in completes`, async () => {
    const client = await clientOf(behaviour, environment);
    const url = await client.authorizationUrl(REQUEST);
    assert.deepEqual([...url.searchParams.keys()].sort(), ["client_id", "request_uri"]);
    const browser = new Browser({ stopAt: ({ href }) => href.startsWith(REDIRECT_URI) });
    const { searchParams } = await signIn(browser, url);
    assert.equal((await client.finishLogin(searchParams, REQUEST)).subject, "alice");
    const identification = await client.identificationUrl(REQUEST, true);
    assert.ok(identification.searchParams.has("request_uri"));
  });

test("a provider that does not require them gets the request by the browser", async () => {
  const client = await clientOf({ pushedRequests: "of the client" });
  assert.equal((await client.authorizationUrl(REQUEST)).searchParams.get("state"), "a-state");
});

describe("what the provider refuses before anybody is there is no refusal of a user", () => {
  test("a redirect URI that it does not know", async () => {
    const client = await clientOf({ pushedRequests: "of all" });
    await assert.rejects(client.authorizationUrl({ ...REQUEST, redirectUri: "http://localhost:9/other" }), {
      name: "UnavailableError",
      reason: "pushed_request_refused",
    });
  });

  test("a wrong secret", async () => {
    const client = await clientOf({ pushedRequests: "of all" }, { OIDC_CLIENT_SECRET: "wrong" });
    await assert.rejects(client.authorizationUrl(REQUEST), { reason: "client_credentials_rejected" });
  });
});
