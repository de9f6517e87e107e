/** Bad input at /revoke: somebody else's tokens stay good, and the answer does not say whether there are any. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { revoke } from "../support/oauth-client.ts";
import { assertRefused, type Refusal, sendRequest } from "./support.ts";
import { useTokenRequests } from "./token-requests.ts";

describe("bad input at /revoke", () => {
  const { testServer, clients, secrets, newCode, newTokens, whoami } = useTokenRequests();

  test("someone else's, unknown and garbled tokens: 200, and nothing changes (RFC 7009 §2.2)", async () => {
    const tokens = await newTokens();
    for (const value of [tokens.refresh_token, tokens.access_token])
      assert.equal((await revoke(testServer.baseUrl, clients.other, value)).status, 200);
    for (const value of ["garbage", `mcp_at_${"A".repeat(65)}`, await newCode()])
      assert.equal((await revoke(testServer.baseUrl, clients.own, value)).status, 200);
    assert.equal(await whoami(tokens.access_token), 200);
  });

  test("no token, no client, two tokens, JSON", async () => {
    const url = `${testServer.baseUrl}/revoke`;
    const { client_id } = clients.own;
    const attempts: Array<[Parameters<typeof sendRequest>[1], Refusal]> = [
      [
        { form: { client_id } },
        {
          status: 400,
          error: "invalid_request",
          reason: "missing_parameter",
          describes: /token.* is missing/,
        },
      ],
      [{ form: { token: "x" } }, { status: 401, error: "invalid_client", reason: "no_client_id" }],
      [
        { form: { token: "x", client_id: "unknown" } },
        { status: 401, error: "invalid_client", reason: "unknown_client" },
      ],
      [
        {
          form: [
            ["client_id", client_id],
            ["token", "x"],
            ["token", "y"],
          ],
        },
        { status: 400, error: "invalid_request", reason: "repeated_parameter" },
      ],
      [
        { json: { token: "x", client_id } },
        { status: 400, error: "invalid_request", reason: "wrong_content_type" },
      ],
    ];
    for (const [attempt, expected] of attempts)
      await assertRefused(testServer, await sendRequest(url, attempt), expected);
  });

  test("no code, token, verifier or secret is in the log", () => secrets.assertNotLogged(testServer));
});
