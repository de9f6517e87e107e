/**
 * The official SDK's clients without a browser against the running demo, unattended: a machine with a secret, one with a key,
 * and an application of a company, from the person's sign-in at the identity provider to the call.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  Client,
  ClientCredentialsProvider,
  CrossAppAccessProvider,
  discoverAndRequestJwtAuthGrant,
  type OAuthClientProvider,
  PrivateKeyJwtProvider,
  StreamableHTTPClientTransport,
} from "@modelcontextprotocol/client";
import { exportPKCS8 } from "jose";
import * as oidc from "openid-client";
import { Browser } from "../../dev/client/browser.ts";
import { APPLICATION, MACHINE } from "../../dev/demo/callers.ts";
import { type DemoProcess, endDemos, startDemo } from "../support/demo-process.ts";
import { installedPackage } from "../support/installed-package.ts";
import { signIn } from "../support/sign-in.ts";
import { newKey } from "../support/token-issuer.ts";

after(endDemos);

const { version } = await installedPackage("@modelcontextprotocol/client");
const REDIRECT_URI = "http://127.0.0.1:33418/callback";

const key = await newKey();
const { d: _private, ...publicKey } = key.jwk;
const SIGNING = {
  client_id: "signing",
  jwks: { keys: [publicKey] },
  grant_types: ["client_credentials"],
  scope: "weather:read",
};

let demo: DemoProcess;
let expectedIssuer: string;
let companyUrl: string;

before(async () => {
  demo = await startDemo({ LOG_LEVEL: "error", CLIENTS: JSON.stringify([SIGNING]) });
  expectedIssuer = demo.baseUrl;
  companyUrl = `http://localhost:${Number(new URL(demo.baseUrl).port) + 1}`;
});

for (const mode of ["legacy", "auto"] as const)
  describe(`the official SDK's client ${version} without a browser, versions: ${mode}`, () => {
    /** Calls two tools, without anybody at a browser. */
    async function found(authProvider: OAuthClientProvider): Promise<Record<string, unknown>> {
      const client = new Client({ name: "machine", version: "1" }, { versionNegotiation: { mode } });
      await client.connect(
        new StreamableHTTPClientTransport(new URL(`${demo.baseUrl}/mcp`), { authProvider }),
      );
      try {
        const weather = await client.callTool({ name: "current_weather", arguments: { city: "Berlin" } });
        assert.equal((weather.structuredContent as { city?: string }).city, "Berlin");
        const { structuredContent } = await client.callTool({ name: "whoami", arguments: {} });
        return structuredContent as Record<string, unknown>;
      } finally {
        await client.close();
      }
    }

    test("ClientCredentialsProvider", async () => {
      const { kind, subject } = await found(
        new ClientCredentialsProvider({ clientId: MACHINE.id, clientSecret: MACHINE.secret, expectedIssuer }),
      );
      assert.deepEqual([kind, subject], ["client", MACHINE.id]);
    });

    test("PrivateKeyJwtProvider", async () => {
      const privateKey = await exportPKCS8(key.privateKey as never);
      const { kind, subject } = await found(
        new PrivateKeyJwtProvider({
          clientId: SIGNING.client_id,
          privateKey,
          algorithm: key.alg,
          expectedIssuer,
        }),
      );
      assert.deepEqual([kind, subject], ["client", SIGNING.client_id]);
    });

    test("CrossAppAccessProvider, from the sign-in at the company on", async () => {
      const { kind, subject, issuer, clientId, name } = await found(
        new CrossAppAccessProvider({
          clientId: APPLICATION.id,
          clientSecret: APPLICATION.secret,
          expectedIssuer,
          async assertion({ authorizationServerUrl, resourceUrl, scope, fetchFn }) {
            const { jwtAuthGrant } = await discoverAndRequestJwtAuthGrant({
              idpUrl: companyUrl,
              audience: authorizationServerUrl,
              resource: resourceUrl,
              idToken: await signInAtCompany(companyUrl),
              clientId: APPLICATION.id,
              clientSecret: APPLICATION.secret,
              ...(scope !== undefined && { scope }),
              fetchFn,
            });
            return jwtAuthGrant;
          },
        }),
      );
      assert.deepEqual(
        { kind, subject, issuer, clientId, name },
        {
          kind: "user",
          subject: "alice",
          issuer: companyUrl,
          clientId: APPLICATION.id,
          name: "Alice Example",
        },
      );
    });
  });

/** What the application does when alice opens it: OpenID Connect by a certified client. @returns her ID token */
async function signInAtCompany(companyUrl: string): Promise<string> {
  const company = await oidc.discovery(
    new URL(companyUrl),
    APPLICATION.id,
    undefined,
    oidc.ClientSecretPost(APPLICATION.secret),
    { execute: [oidc.allowInsecureRequests] },
  );
  const pkceCodeVerifier = oidc.randomPKCECodeVerifier();
  const expectedState = oidc.randomState();
  const url = oidc.buildAuthorizationUrl(company, {
    redirect_uri: REDIRECT_URI,
    scope: "openid email",
    state: expectedState,
    code_challenge: await oidc.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
  });
  const browser = new Browser({ stopAt: ({ href }) => href.startsWith(REDIRECT_URI) });
  const back = await signIn(browser, url, { login: "alice" });
  const tokens = await oidc.authorizationCodeGrant(company, back, { pkceCodeVerifier, expectedState });
  assert.ok(tokens.id_token);
  return tokens.id_token;
}
