/** Normal behaviour of clients is not logged as an error, and error messages are readable. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { loadConfig } from "../../src/config/config.ts";
import { eventually } from "../support/eventually.ts";
import {
  authorizeUrl,
  type Registered,
  register,
  revoke,
  rpc,
  signInForTokens,
} from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";

const ORIGINS = ["app://obsidian.md", "vscode-webview://0abc-1", "chrome-extension://abcdefghijklmnop"];

describe("normal behaviour of clients", () => {
  let client: Registered;
  const testServer = useTestServer({ environment: { ALLOWED_ORIGINS: ORIGINS.join(",") } });
  before(async () => {
    client = await register(testServer.baseUrl);
  });

  test("GET /mcp at every connection is a wrong method, not a protocol error", async () => {
    const { access_token } = await signInForTokens(testServer.baseUrl, client);
    const headers = { authorization: `Bearer ${access_token}`, accept: "text/event-stream" };
    assert.equal((await fetch(testServer.url, { headers })).status, 405);
    const line = await eventually("the line of the GET", () =>
      testServer.log.find(({ method, path }) => method === "GET" && path === "/mcp"),
    );
    assert.deepEqual([line.reason, line.level], ["wrong_method", 30]);
  });

  test("a client that signs out revokes both tokens: the second has already ended", async () => {
    const tokens = await signInForTokens(testServer.baseUrl, client);
    for (const token of [tokens.refresh_token, tokens.access_token])
      assert.equal((await revoke(testServer.baseUrl, client, token)).status, 200);
    assert.equal(testServer.log.find(({ reason }) => reason === "already_ended")?.level, 20);
    assert.equal(
      testServer.log.some(({ reason }) => reason === "nothing_to_revoke"),
      false,
    );
  });

  test("an error goes back to the client with %20 for spaces, not +", async () => {
    const url = authorizeUrl(testServer.baseUrl, client, { response_mode: "fragment" });
    const location = (await fetch(url, { redirect: "manual" })).headers.get("location") ?? "";
    assert.match(location, /error_description=Only%20response_mode/);
    assert.doesNotMatch(location.slice(location.indexOf("?")), /\+/);
  });

  test("origins of desktop applications and browser extensions can be named, and null cannot", async () => {
    const { access_token } = await signInForTokens(testServer.baseUrl, client);
    const from = (origin: string) =>
      fetch(testServer.url, {
        method: "POST",
        headers: {
          origin,
          authorization: `Bearer ${access_token}`,
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
        },
        body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" }),
      });
    for (const origin of ORIGINS) assert.equal((await from(origin)).status, 200, origin);
    assert.equal((await from("app://elsewhere.md")).status, 403);
    const withoutOrigin = await from("null");
    assert.equal(withoutOrigin.status, 403);
    assert.doesNotMatch(await withoutOrigin.text(), /ALLOWED_ORIGINS/);
    assert.equal((await rpc(testServer.url, access_token, "tools/list")).status, 200);
    for (const origin of ["null", "file://", "file://x", "app://a/b", "app:x", "https://a.example/x"])
      assert.throws(() => loadConfig({ ALLOWED_ORIGINS: origin }), /ALLOWED_ORIGINS must be/, origin);
  });
});
