/** A BASE_URL with a path, behind a proxy that keeps the path and behind one that strips it. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import {
  Client,
  discoverAuthorizationServerMetadata,
  StreamableHTTPClientTransport,
  UnauthorizedError,
} from "@modelcontextprotocol/client";
import { discoverAuthorizationServerMetadata as discoverV1 } from "@modelcontextprotocol/sdk/client/auth.js";
import { OpenIdProviderMetadataSchema } from "@modelcontextprotocol/sdk/shared/auth.js";
import {
  callTool,
  getJson,
  newBrowser,
  REDIRECT_URI,
  refresh,
  register,
  rpc,
  signInForTokens,
} from "../support/oauth-client.ts";
import { signIn } from "../support/sign-in.ts";
import { useTestServer } from "../support/test-server.ts";

for (const stripsBasePath of [false, true])
  describe(`https://host/tools behind a proxy that ${stripsBasePath ? "strips" : "keeps"} the path`, () => {
    let origin: string;
    const testServer = useTestServer({ basePath: "/deep/tools", stripsBasePath });
    before(() => {
      origin = new URL(testServer.baseUrl).origin;
    });

    test("A19 RFC 8414 §3.1 and RFC 9728 §3.1: the documents are where the specifications insert them", async () => {
      const server = await getJson(`${origin}/.well-known/oauth-authorization-server/deep/tools`);
      assert.equal(server.issuer, `${origin}/deep/tools`);
      assert.equal(server.token_endpoint, `${origin}/deep/tools/token`);
      const resource = await getJson(`${origin}/.well-known/oauth-protected-resource/deep/tools/mcp`);
      assert.equal(resource.resource, `${origin}/deep/tools/mcp`);
      assert.deepEqual(resource.authorization_servers, [server.issuer]);
      for (const path of [
        "/.well-known/openid-configuration/deep/tools",
        "/deep/tools/.well-known/openid-configuration",
        "/deep/tools/.well-known/oauth-authorization-server",
        "/deep/tools/mcp/.well-known/oauth-protected-resource",
      ])
        assert.equal((await fetch(origin + path)).status, 200, path);
    });

    test("both official SDKs find the server where a proxy passes nothing but /deep/tools/ (OpenID Connect Discovery §4)", async () => {
      const asked: string[] = [];
      const passed: typeof fetch = async (input, init) => {
        const { pathname } = new URL(String(input));
        asked.push(pathname);
        return pathname.startsWith("/deep/tools/")
          ? fetch(input, init)
          : new Response("Not found", { status: 404 });
      };
      for (const discover of [discoverAuthorizationServerMetadata, discoverV1]) {
        const found = await discover(testServer.baseUrl, { fetchFn: passed });
        assert.equal(found?.issuer, testServer.baseUrl);
        assert.equal(found?.token_endpoint, `${testServer.baseUrl}/token`);
        assert.equal(asked.at(-1), "/deep/tools/.well-known/openid-configuration");
      }
    });

    test("what is served as OpenID provider metadata is that, and its keys are there (OpenID Connect Discovery §3)", async () => {
      for (const path of [
        "/.well-known/openid-configuration/deep/tools",
        "/deep/tools/.well-known/openid-configuration",
        "/deep/tools/mcp/.well-known/openid-configuration",
      ]) {
        const document = await getJson(origin + path);
        const { jwks_uri } = OpenIdProviderMetadataSchema.parse(document);
        assert.ok(jwks_uri.startsWith(`${testServer.baseUrl}/`));
        const { keys } = await getJson(jwks_uri);
        assert.ok(keys.length > 0, "those of the identity that backends are told");
        assert.ok(document.id_token_signing_alg_values_supported.includes("RS256"));
      }
      const plain = await getJson(`${origin}/.well-known/oauth-authorization-server/deep/tools`);
      assert.equal("jwks_uri" in plain, false, "no keys sign anything here");
    });

    test("the challenge points to the inserted document", async () => {
      const answer = await rpc(testServer.url, undefined, "tools/list");
      assert.equal(answer.status, 401);
      assert.ok(
        answer.headers
          .get("www-authenticate")
          ?.includes(`resource_metadata="${origin}/.well-known/oauth-protected-resource/deep/tools/mcp"`),
      );
    });

    test("a whole session, pages, cookies and callback included", async () => {
      const client = await register(testServer.baseUrl);
      const tokens = await signInForTokens(testServer.baseUrl, client);
      const answer = await callTool(testServer.url, tokens.access_token, "whoami");
      assert.equal(answer.body.result.structuredContent.subject, "alice");
      assert.equal((await refresh(testServer.baseUrl, client, tokens.refresh_token)).status, 200);
      assert.equal((await fetch(testServer.baseUrl)).status, 200);
      assert.equal((await fetch(`${testServer.baseUrl}/healthz`)).status, 200);
    });

    test("the official client finds its way", async () => {
      const kept: Record<string, unknown> = {};
      const keep = (name: string) => (value: unknown) => {
        kept[name] = value;
      };
      const authProvider = {
        redirectUrl: REDIRECT_URI,
        clientMetadata: {
          client_name: "c",
          redirect_uris: [REDIRECT_URI],
          token_endpoint_auth_method: "none",
        },
        clientInformation: () => kept.client as never,
        saveClientInformation: keep("client"),
        tokens: () => kept.tokens as never,
        saveTokens: keep("tokens"),
        codeVerifier: () => kept.verifier as never,
        saveCodeVerifier: keep("verifier"),
        redirectToAuthorization: keep("authorizationUrl"),
      };
      const connect = () => new StreamableHTTPClientTransport(new URL(testServer.url), { authProvider });
      const first = connect();
      await assert.rejects(new Client({ name: "c", version: "1" }).connect(first), UnauthorizedError);
      const callback = await signIn(newBrowser(), String(kept.authorizationUrl), { login: "alice" });
      await first.finishAuth(callback.searchParams);
      const client = new Client({ name: "c", version: "1" });
      await client.connect(connect());
      assert.equal((await client.listTools()).tools.length, 3);
      await client.close();
    });

    test("what lies beside the path is not there", async () => {
      for (const path of ["/deep/toolsmcp", "/deep", "/.well-known/oauth-authorization-server/other"])
        assert.equal((await fetch(origin + path)).status, 404, path);
    });
  });
