/** The official SDK's clients without a browser: a machine with a secret or a key, and an application of a company (ID-JAG). */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import {
  Client,
  ClientCredentialsProvider,
  CrossAppAccessProvider,
  type OAuthClientProvider,
  PrivateKeyJwtProvider,
  StreamableHTTPClientTransport,
} from "@modelcontextprotocol/client";
import { exportPKCS8 } from "jose";
import { useTestServer } from "../support/test-server.ts";
import { idJagIssuer, newKey, startTokenIssuer } from "../support/token-issuer.ts";

const SECRET = "the-secret-of-a-machine-0123456789abcdef";
const key = await newKey();
const { d: _private, ...publicKey } = key.jwk;
const company = await startTokenIssuer({ after });

const MACHINE = { grant_types: ["client_credentials"], scope: "weather:read" };
const CLIENTS = JSON.stringify([
  { ...MACHINE, client_id: "nightly", client_secret: SECRET },
  { ...MACHINE, client_id: "signing", jwks: { keys: [publicKey] } },
  { client_id: "app", client_secret: SECRET, redirect_uris: ["https://app.example/cb"] },
]);

describe("the official SDK's client", () => {
  const testServer = useTestServer({
    environment: { CLIENTS },
    adjust: (config) => ({
      ...config,
      issuers: [idJagIssuer(company)],
    }),
  });

  /** Calls whoami, without anybody at a browser. */
  async function whoami(authProvider: OAuthClientProvider): Promise<Record<string, unknown>> {
    const client = new Client({ name: "machine", version: "1" });
    await client.connect(new StreamableHTTPClientTransport(new URL(testServer.url), { authProvider }));
    try {
      const { structuredContent } = await client.callTool({ name: "whoami", arguments: {} });
      return structuredContent as Record<string, unknown>;
    } finally {
      await client.close();
    }
  }

  test("comes in with a secret", async () => {
    const expectedIssuer = testServer.baseUrl;
    const found = await whoami(
      new ClientCredentialsProvider({ clientId: "nightly", clientSecret: SECRET, expectedIssuer }),
    );
    assert.deepEqual([found.kind, found.subject, found.scopes], ["client", "nightly", ["weather:read"]]);
  });

  test("comes in with a signature", async () => {
    const found = await whoami(
      new PrivateKeyJwtProvider({
        clientId: "signing",
        privateKey: await exportPKCS8(key.privateKey as never),
        algorithm: key.alg,
        expectedIssuer: testServer.baseUrl,
      }),
    );
    assert.deepEqual([found.kind, found.subject], ["client", "signing"]);
  });

  test("comes in with what its company says of a person", async () => {
    const found = await whoami(
      new CrossAppAccessProvider({
        clientId: "app",
        clientSecret: SECRET,
        expectedIssuer: testServer.baseUrl,
        assertion: async ({ authorizationServerUrl, resourceUrl, scope }) =>
          company.sign(
            {
              sub: "u-17",
              aud: String(authorizationServerUrl),
              resource: String(resourceUrl),
              client_id: "app",
              scope,
            },
            { typ: "oauth-id-jag+jwt" },
          ),
      }),
    );
    assert.deepEqual([found.kind, found.subject, found.issuer], ["user", "u-17", company.issuer]);
  });
});
