/** The operator's allow list of redirect URIs matches nothing else. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRedirectUriPattern } from "../../src/oauth/redirect-uri-pattern.ts";

const matches: Array<[string, string]> = [
  ["https://claude.ai/api/mcp/auth_callback", "https://claude.ai/api/mcp/auth_callback"],
  ["https://*.example.com/oauth/*", "https://app.example.com/oauth/callback"],
  ["https://*.example.com/*", "https://a.b.example.com/x?y=1"],
  ["http://localhost/*", "http://localhost:49152/callback"],
  ["http://127.0.0.1/callback", "http://127.0.0.1:1/callback"],
  ["http://[::1]/*", "http://[::1]:8080/x"],
  ["cursor://anysphere.cursor-mcp/oauth/callback", "cursor://anysphere.cursor-mcp/oauth/callback"],
  ["com.example.app:/*", "com.example.app:/oauth"],
  ["https://app.example.com", "https://app.example.com/"],
];
for (const [pattern, uri] of matches)
  test(`${pattern} allows ${uri}`, () => assert.equal(parseRedirectUriPattern(pattern)?.(uri), true));

const differs: Array<[string, string]> = [
  ["https://claude.ai/api/mcp/auth_callback", "https://claude.ai/api/mcp/auth_callback2"],
  [
    "https://claude.ai/api/mcp/auth_callback",
    "https://claude.ai/api/mcp/auth_callback?next=https://evil.example",
  ],
  ["https://claude.ai/api/mcp/auth_callback", "http://claude.ai/api/mcp/auth_callback"],
  ["https://claude.ai/*", "https://claude.ai.evil.example/x"],
  ["https://claude.ai/*", "https://claude.ai:8443/x"],
  ["https://claude.ai/*", "https://evil.example/claude.ai/x"],
  ["https://*.example.com/*", "https://example.com/x"],
  ["https://*.example.com/*", "https://evilexample.com/x"],
  ["https://*.example.com/*", "https://evil.example/.example.com/x"],
  ["https://*.example.com/*", "https://app.example.com:444/x"],
  ["https://a.example/oauth/*", "https://a.example/oauth2/x"],
  ["https://a.example/oauth/*", "https://a.example/oauth"],
  ["http://localhost/*", "http://localhost.evil.example/x"],
  ["http://localhost/*", "https://localhost/x"],
  ["com.example.app:/*", "com.example.apps:/x"],
];
for (const [pattern, uri] of differs)
  test(`${pattern} does not allow ${uri}`, () =>
    assert.equal(parseRedirectUriPattern(pattern)?.(uri), false));

for (const text of [
  "",
  "*",
  "https://*",
  "https://*.com/*",
  "https://a*.example.com/",
  "https://a.example/call*",
  "a.example",
  "https://u@a.example/",
  "https://a.example/*/b",
])
  test(`"${text}" is no pattern`, () => assert.equal(parseRedirectUriPattern(text), undefined));
