/** Refresh tokens that are not good at /token, or for less than is asked: what is refused leaves the family alone, and reuse ends it. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { z } from "zod";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { callTool, refresh, register, signInForTokens } from "../support/oauth-client.ts";
import { assertRefused, type Refusal } from "./support.ts";
import { type Fields, useTokenRequests } from "./token-requests.ts";

/** A second scope that the identity provider grants, so that a token can be limited to one of them. */
const readMail = defineTool({
  name: "read_mail",
  description: "Needs a scope of its own",
  scopes: ["email"],
  input: z.object({}),
  run: () => "no mail",
});

describe("bad input at /token: the refresh token", () => {
  const { testServer, clients, secrets, token, refreshGrant, newCode, newTokens, redeemed, whoami } =
    useTokenRequests({
      tools: [readMail],
      scopes: {
        email: "Read your mail",
        "orders:write": { description: "Cancel your orders", whenNeeded: true },
      },
    });

  test("no refused attempt touches the family: after all of them it works", async () => {
    const tokens = await newTokens();
    const code = await newCode();
    const confidential = await register(testServer.baseUrl, {
      token_endpoint_auth_method: "client_secret_post",
    });
    secrets.keep(confidential.client_secret);
    const notValid = { status: 400, error: "invalid_grant", describes: /Sign in again/ };
    const REFUSED: Array<[string, Fields, Refusal]> = [
      [
        "another client",
        { client_id: clients.other.client_id },
        { ...notValid, reason: "refresh_token_of_another_client" },
      ],
      [
        "another client that proved who it is",
        { client_id: confidential.client_id, client_secret: confidential.client_secret ?? "" },
        { ...notValid, reason: "refresh_token_of_another_client" },
      ],
      [
        "an access token in its place",
        { refresh_token: tokens.access_token },
        { ...notValid, reason: "malformed_refresh_token" },
      ],
      ["a code in its place", { refresh_token: code }, { ...notValid, reason: "malformed_refresh_token" }],
      ["garbage", { refresh_token: "garbage" }, { ...notValid, reason: "malformed_refresh_token" }],
      [
        "a forged one of the same grant, which is not reuse",
        { refresh_token: `${tokens.refresh_token.slice(0, -22)}${"A".repeat(22)}` },
        { ...notValid, reason: "unknown_refresh_token" },
      ],
      [
        "one of no grant",
        { refresh_token: `mcp_rt_${"A".repeat(87)}` },
        { ...notValid, reason: "unknown_grant" },
      ],
      [
        "a foreign resource",
        { resource: "https://elsewhere.example/mcp" },
        { status: 400, error: "invalid_target", reason: "foreign_resource", describes: /for the resource/ },
      ],
      [
        "a scope the user did not grant",
        { scope: "weather:read orders:write" },
        {
          status: 400,
          error: "invalid_scope",
          reason: "scope_widened",
          describes: /was not for: orders:write/,
        },
      ],
      [
        "a scope with illegal characters",
        { scope: 'weather:read "' },
        { status: 400, error: "invalid_scope", reason: "malformed_scope", describes: /illegal characters/ },
      ],
      [
        "none",
        { refresh_token: undefined },
        {
          status: 400,
          error: "invalid_request",
          reason: "missing_parameter",
          describes: /refresh_token.* is missing/,
        },
      ],
      [
        "an oversized one",
        { refresh_token: "x".repeat(5000) },
        { status: 400, error: "invalid_request", reason: "invalid_parameter" },
      ],
    ];
    for (const [name, fields, expected] of REFUSED) {
      await assertRefused(
        testServer,
        await token(refreshGrant(tokens.refresh_token, fields)),
        expected,
      ).catch((error) => {
        throw new Error(name, { cause: error });
      });
    }
    assert.equal(await whoami(tokens.access_token), 200);
    const reply = await token(refreshGrant(tokens.refresh_token));
    assert.equal(reply.status, 200);
    secrets.keepTokens(reply.json);
    assert.equal(await whoami(reply.json.access_token), 200);
  });

  test("a refresh token opens no tool, an access token refreshes nothing (invariant 4)", async () => {
    const tokens = await newTokens();
    assert.equal(await whoami(tokens.refresh_token), 401);
    assert.equal(await whoami(await newCode()), 401);
  });

  test("a narrowed token can do less; the family keeps what the user granted", async () => {
    const tokens = await newTokens();
    assert.equal(tokens.scope, "weather:read email");
    const narrowed = (await token(refreshGrant(tokens.refresh_token, { scope: "weather:read" }))).json;
    secrets.keepTokens(narrowed);
    assert.equal(narrowed.scope, "weather:read");
    assert.equal((await callTool(testServer.url, tokens.access_token, "read_mail")).status, 200);
    assert.equal((await callTool(testServer.url, narrowed.access_token, "read_mail")).status, 403);
    const whole = secrets.keepTokens((await token(refreshGrant(narrowed.refresh_token))).json);
    assert.equal(whole.scope, "weather:read email");
    assert.equal((await callTool(testServer.url, whole.access_token, "read_mail")).status, 200);
  });

  test("a client may repeat at refresh the scopes that it was let sign in with", async () => {
    const scope = "openid profile email offline_access weather:read";
    const tokens = secrets.keepTokens(
      await signInForTokens(testServer.baseUrl, clients.own, { parameters: { scope } }),
    );
    const reply = await token(refreshGrant(tokens.refresh_token, { scope }));
    assert.equal(reply.status, 200, reply.text);
    secrets.keepTokens(reply.json);
    assert.equal(reply.json.scope, "weather:read");
  });

  test("a code or token of another grant beside it changes nothing of what is refreshed or redeemed", async () => {
    const [one, another] = [await newTokens(), await newTokens()];
    const code = await newCode();
    const refreshed = await token(refreshGrant(one.refresh_token, { code }));
    assert.equal(refreshed.status, 200, refreshed.text);
    const { access_token: accessToken } = secrets.keepTokens(refreshed.json);
    const grantOf = (value: string) => value.slice("mcp_at_".length, "mcp_at_".length + 22);
    assert.equal(grantOf(accessToken), grantOf(one.access_token));
    const tokens = await redeemed(code, { refresh_token: another.refresh_token });
    assert.equal(grantOf(tokens.access_token), grantOf(code));
    assert.equal((await refresh(testServer.baseUrl, clients.own, another.refresh_token)).status, 200);
  });

  test("reuse after the grace ends the family", async () => {
    const tokens = await newTokens();
    const next = secrets.keepTokens((await token(refreshGrant(tokens.refresh_token))).json);
    try {
      testServer.clock.ahead = 121;
      await assertRefused(testServer, await token(refreshGrant(tokens.refresh_token)), {
        status: 400,
        error: "invalid_grant",
        reason: "refresh_token_reused",
      });
    } finally {
      testServer.clock.ahead = 0;
    }
    assert.equal(await whoami(next.access_token), 401);
    assert.equal((await token(refreshGrant(next.refresh_token))).json.error, "invalid_grant");
  });

  test("no code, token, verifier or secret is in the log", () => secrets.assertNotLogged(testServer));
});
