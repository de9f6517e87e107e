/** What the embedded identity provider signs for callers without a browser: ID-JAGs and access tokens, and what it refuses. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { createRemoteJWKSet, decodeJwt, jwtVerify } from "jose";
import { Browser } from "../../dev/client/browser.ts";
import { type Answer, sendRequest } from "../../dev/client/http.ts";
import {
  authorizationParameters,
  codeParameters,
  ID_JAG,
  idJagParameters,
} from "../../dev/client/oauth-client.ts";
import {
  type RunningIdentityProvider,
  startIdentityProvider,
} from "../../dev/identity-provider/identity-provider.ts";
import { signIn } from "../support/sign-in.ts";

const AUDIENCE = "https://mcp.example.com";
const RESOURCE = `${AUDIENCE}/mcp`;
const APPLICATION = { id: "app", secret: "secret-of-app", redirectUri: "http://127.0.0.1/callback" };
const MACHINE = { id: "job", secret: "secret-of-job" };
const PROXY = { id: "proxy", secret: "secret-of-proxy", redirectUris: ["http://localhost:9/callback"] };
/** Of any port, because it is a native application (RFC 8252 §7.3). */
const REDIRECT_URI = "http://127.0.0.1:9/callback";
const VERIFIER = "v".repeat(43);

describe("the embedded identity provider with an MCP server", () => {
  let provider: RunningIdentityProvider;
  let idToken: string;
  let keys: ReturnType<typeof createRemoteJWKSet>;

  before(async () => {
    provider = await startIdentityProvider({
      port: 0,
      client: PROXY,
      audience: "https://api.example.com",
      scopes: ["weather:read", "weather:write"],
      users: [{ subject: "alice", name: "Alice", email: "alice@example.com", permissions: ["weather:read"] }],
      mcpServer: { issuer: AUDIENCE, resource: RESOURCE, application: APPLICATION, machine: MACHINE },
    });
    keys = createRemoteJWKSet(new URL(`${provider.issuer}/jwks`));
    idToken = await idTokenOf(APPLICATION, REDIRECT_URI);
  });
  after(() => provider?.close());

  function ask(form: Record<string, string>, client: { id: string; secret: string }): Promise<Answer> {
    const credentials = { client_id: client.id, client_secret: client.secret };
    return sendRequest({
      method: "POST",
      url: `${provider.issuer}/token`,
      form: { ...form, ...credentials },
    });
  }

  async function idTokenOf(client: { id: string; secret: string }, redirectUri: string): Promise<string> {
    const authorization = { clientId: client.id, redirectUri, codeVerifier: VERIFIER };
    const parameters = authorizationParameters({ ...authorization, scope: "openid", state: "s" });
    const browser = new Browser({ stopAt: ({ pathname }) => pathname === "/callback" });
    const back = await signIn(browser, `${provider.issuer}/auth?${new URLSearchParams(parameters)}`);
    const answer = await ask(codeParameters(authorization, back.searchParams.get("code") ?? ""), client);
    return answer.body.id_token;
  }

  const exchange = (changes: Record<string, string> = {}, client = APPLICATION) =>
    ask({ ...idJagParameters({ idToken, audience: AUDIENCE, resource: RESOURCE }), ...changes }, client);

  test("an ID token becomes an ID-JAG, of what the person may have", async () => {
    const { status, body } = await exchange({ scope: "weather:write weather:read" });
    assert.equal(status, 200, JSON.stringify(body));
    assert.deepEqual(
      [body.issued_token_type, body.token_type, body.expires_in, body.scope],
      [ID_JAG, "N_A", 300, "weather:read"],
    );
    const { payload, protectedHeader } = await jwtVerify(body.access_token, keys, {
      issuer: provider.issuer,
    });
    assert.equal(protectedHeader.typ, "oauth-id-jag+jwt");
    const { aud, sub, client_id, resource, scope, exp = 0, iat = 0 } = payload;
    assert.deepEqual(
      { aud, sub, client_id, resource, scope, seconds: exp - iat },
      {
        aud: AUDIENCE,
        sub: "alice",
        client_id: "app",
        resource: RESOURCE,
        scope: "weather:read",
        seconds: 300,
      },
    );
    const again = await exchange();
    assert.notEqual(decodeJwt(again.body.access_token).jti, payload.jti);
  });

  test("its metadata say so", async () => {
    const { body } = await sendRequest({
      method: "GET",
      url: `${provider.issuer}/.well-known/openid-configuration`,
    });
    assert.ok(body.grant_types_supported.includes("urn:ietf:params:oauth:grant-type:token-exchange"));
    assert.deepEqual(body.identity_chaining_requested_token_types_supported, [ID_JAG]);
  });

  test("only an ID token for the application that presents it will do, and only for the one server", async () => {
    const { body: token } = await ask(
      { grant_type: "client_credentials", resource: RESOURCE, scope: "weather:read" },
      MACHINE,
    );
    const { body: assertion } = await exchange();
    const refusals: Array<[string, Record<string, string>]> = [
      ["invalid_grant", { subject_token: "garbage" }],
      ["invalid_grant", { subject_token: token.access_token }],
      ["invalid_grant", { subject_token: assertion.access_token }],
      ["invalid_grant", { subject_token: await idTokenOf(PROXY, PROXY.redirectUris[0] ?? "") }],
      ["invalid_target", { audience: "https://another.example.com" }],
      ["invalid_target", { resource: "https://another.example.com/mcp" }],
      ["invalid_request", { requested_token_type: "urn:ietf:params:oauth:token-type:access_token" }],
      ["invalid_request", { subject_token_type: "urn:ietf:params:oauth:token-type:access_token" }],
    ];
    for (const [error, changes] of refusals) {
      const { status, body } = await exchange(changes);
      assert.deepEqual([status, body.error], [400, error], JSON.stringify({ changes, body }));
    }
    const ofAnother = await exchange({}, { ...MACHINE, redirectUri: "" });
    assert.equal(ofAnother.status, 400);
  });

  test("a program gets an access token for the MCP endpoint, with nobody's permissions", async () => {
    const { status, body } = await ask(
      { grant_type: "client_credentials", resource: RESOURCE, scope: "weather:read" },
      MACHINE,
    );
    assert.equal(status, 200, JSON.stringify(body));
    const { payload, protectedHeader } = await jwtVerify(body.access_token, keys, { audience: RESOURCE });
    assert.equal(protectedHeader.typ, "at+jwt");
    assert.deepEqual(
      [payload.sub, payload.client_id, payload.scope, payload.permissions],
      ["job", "job", "weather:read", undefined],
    );
  });
});
