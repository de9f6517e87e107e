/** The two metadata documents (RFC 9728, RFC 8414): what a client must find in them, byte for byte. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  authorizationServerMetadata,
  protectedResourceMetadata,
  resourceMetadataUrl,
} from "../../src/oauth/server-metadata.ts";

const settings = {
  issuer: "https://mcp.example",
  resource: "https://mcp.example/mcp",
  resources: ["https://mcp.example/mcp"],
  scopes: ["weather:read", "mail:send", "mail:delete"],
  usualScopes: ["weather:read", "mail:send"],
  name: "Example",
  configuredClientsSign: false,
  identityAssertions: false,
  clientIdMetadata: true,
  assertionAlgorithms: ["ES256"],
};

describe("the metadata documents", () => {
  const resource = protectedResourceMetadata(settings);
  const server = authorizationServerMetadata(settings);

  test("A1 the resource names itself and its one authorization server, whose issuer is the same bytes", () => {
    assert.equal(resource.resource, settings.resource);
    assert.deepEqual(resource.authorization_servers, [server.issuer]);
    assert.equal(server.issuer, "https://mcp.example");
    assert.ok(!server.issuer.endsWith("/"));
    assert.deepEqual(server.protected_resources, settings.resources);
  });

  test("A4 A5 the resource lists what its tools need and nothing else; A25 the server adds offline_access", () => {
    assert.deepEqual(resource.scopes_supported, ["weather:read", "mail:send"]);
    assert.deepEqual(server.scopes_supported, ["weather:read", "mail:send", "mail:delete", "offline_access"]);
  });

  test("an empty list is left out (RFC 9728 §3.2)", () => {
    assert.equal("scopes_supported" in protectedResourceMetadata({ ...settings, usualScopes: [] }), false);
  });

  test("A12 the token goes into the header only", () =>
    assert.deepEqual(resource.bearer_methods_supported, ["header"]));

  test("A19 A21 PKCE is S256 and nothing else", () =>
    assert.deepEqual(server.code_challenge_methods_supported, ["S256"]));

  test("A27 metadata documents are advertised, with signing instead of secrets, only where they are accepted", () => {
    assert.equal(server.client_id_metadata_document_supported, true);
    assert.match(server.token_endpoint_auth_methods_supported.join(" "), /private_key_jwt/);
    assert.deepEqual(server.token_endpoint_auth_signing_alg_values_supported, ["ES256"]);
    const without = authorizationServerMetadata({ ...settings, clientIdMetadata: false });
    assert.equal("client_id_metadata_document_supported" in without, false);
    assert.doesNotMatch(without.token_endpoint_auth_methods_supported.join(" "), /private_key_jwt/);
  });

  test("A26 iss is announced", () =>
    assert.equal(server.authorization_response_iss_parameter_supported, true));

  test("only the code flow is offered, and public clients may come", () => {
    assert.deepEqual(server.response_types_supported, ["code"]);
    assert.deepEqual(server.response_modes_supported, ["query"]);
    assert.deepEqual([...server.grant_types_supported], ["authorization_code", "refresh_token"]);
    assert.ok(server.token_endpoint_auth_methods_supported.includes("none"));
  });

  test("every endpoint is an absolute URL under the issuer", () => {
    const endpoints = Object.entries(server).filter(([name]) => name.endsWith("_endpoint"));
    assert.ok(endpoints.length >= 4);
    for (const [name, url] of endpoints) {
      assert.ok(String(url).startsWith(`${settings.issuer}/`), name);
      assert.ok(URL.canParse(String(url)));
      assert.doesNotMatch(String(url).slice("https://".length), /\/\//);
    }
  });

  const locations: Array<[string, string]> = [
    ["https://mcp.example/mcp", "https://mcp.example/.well-known/oauth-protected-resource/mcp"],
    ["https://mcp.example", "https://mcp.example/.well-known/oauth-protected-resource"],
    ["https://mcp.example:8443/a/mcp", "https://mcp.example:8443/.well-known/oauth-protected-resource/a/mcp"],
    ["http://localhost:3000/mcp", "http://localhost:3000/.well-known/oauth-protected-resource/mcp"],
  ];
  for (const [uri, url] of locations)
    test(`A2 the metadata of ${uri} lives at ${url} (RFC 9728 §3.1)`, () =>
      assert.equal(resourceMetadataUrl(uri), url));
});
