/** Authorization codes that are not good at /token: the RFC's code and status, and nothing that the rightful client loses by a stranger's attempt. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { refresh } from "../support/oauth-client.ts";
import { assertRefused, type Refusal } from "./support.ts";
import { type Fields, useTokenRequests } from "./token-requests.ts";

describe("bad input at /token: the authorization code", () => {
  const { testServer, clients, secrets, token, codeGrant, newCode, newTokens, redeemed, whoami } =
    useTokenRequests();
  const REFUSED: Array<[string, Fields, Refusal]> = [
    [
      "a wrong verifier",
      { code_verifier: "w".repeat(43) },
      {
        status: 400,
        error: "invalid_grant",
        reason: "wrong_code_verifier",
        describes: /code_verifier does not match/,
      },
    ],
    [
      "the challenge in the verifier's place, as plain would have it",
      { code_verifier: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" },
      { status: 400, error: "invalid_grant", reason: "wrong_code_verifier" },
    ],
    [
      "no verifier",
      { code_verifier: undefined },
      {
        status: 400,
        error: "invalid_request",
        reason: "missing_parameter",
        describes: /code_verifier.* is missing/,
      },
    ],
    [
      "an empty verifier",
      { code_verifier: "" },
      { status: 400, error: "invalid_request", reason: "missing_parameter", describes: /code_verifier/ },
    ],
    [
      "a verifier that is too long",
      { code_verifier: "a".repeat(129) },
      {
        status: 400,
        error: "invalid_request",
        reason: "invalid_parameter",
        describes: /code_verifier has to be 43 to 128 of the characters/,
      },
    ],
    [
      "a verifier that is too short",
      { code_verifier: "short" },
      {
        status: 400,
        error: "invalid_request",
        reason: "invalid_parameter",
        describes: /code_verifier has to be 43 to 128 of the characters/,
      },
    ],
    [
      "another redirect_uri",
      { redirect_uri: "http://127.0.0.1:33418/other" },
      {
        status: 400,
        error: "invalid_grant",
        reason: "wrong_redirect_uri",
        describes: /redirect_uri is not the one/,
      },
    ],
    [
      "another loopback port than the code was sent to",
      { redirect_uri: "http://127.0.0.1:1/callback" },
      { status: 400, error: "invalid_grant", reason: "wrong_redirect_uri" },
    ],
    [
      "a foreign resource",
      { resource: "https://elsewhere.example/mcp" },
      {
        status: 400,
        error: "invalid_target",
        reason: "foreign_resource",
        describes: /This code is for the resource/,
      },
    ],
    [
      "no code",
      { code: undefined },
      {
        status: 400,
        error: "invalid_request",
        reason: "missing_parameter",
        describes: /code.* is missing/,
      },
    ],
    [
      "an unknown grant type",
      { grant_type: "password" },
      {
        status: 400,
        error: "unsupported_grant_type",
        reason: "unsupported_grant_type",
        describes: /authorization_code and refresh_token/,
      },
    ],
    [
      "a grant type that is JavaScript's own",
      { grant_type: "__proto__" },
      { status: 400, error: "unsupported_grant_type", reason: "unsupported_grant_type" },
    ],
    [
      "no grant type",
      { grant_type: undefined },
      {
        status: 400,
        error: "invalid_request",
        reason: "missing_parameter",
        describes: /grant_type.* is missing/,
      },
    ],
  ];

  test("no refused attempt uses the code up: after all of them the rightful one works", async () => {
    const code = await newCode();
    for (const [name, fields, expected] of REFUSED) {
      const reply = await token(codeGrant(code, fields));
      await assertRefused(testServer, reply, expected).catch((error) => {
        throw new Error(name, { cause: error });
      });
      assert.equal(reply.headers.get("cache-control"), "no-store");
    }
    const byAnother = await token(codeGrant(code, { client_id: clients.other.client_id }));
    await assertRefused(testServer, byAnother, {
      status: 400,
      error: "invalid_grant",
      reason: "code_of_another_client",
    });
    const tokens = await redeemed(code);
    assert.equal(await whoami(tokens.access_token), 200);
  });

  test("unknown, garbled and foreign codes look the same from outside", async () => {
    const { access_token, refresh_token } = await newTokens();
    const code = await newCode();
    const attempts: Array<[string, string]> = [
      ["garbage", "malformed_code"],
      ["__proto__", "malformed_code"],
      [access_token, "malformed_code"],
      [refresh_token, "malformed_code"],
      [`mcp_ac_${"A".repeat(65)}`, "unknown_code"],
      [`${code.slice(0, -4)}AAAA`, "unknown_code"],
      [`${code} `, "malformed_code"],
    ];
    const descriptions = new Set<string>();
    for (const [attempt, reason] of attempts) {
      const reply = await token(codeGrant(attempt));
      await assertRefused(testServer, reply, {
        status: 400,
        error: "invalid_grant",
        reason,
        describes: /Start the sign-in/,
      });
      descriptions.add(reply.json.error_description);
    }
    const reply = await token(codeGrant(code, { client_id: clients.other.client_id }));
    descriptions.add(reply.json.error_description);
    assert.equal(descriptions.size, 1);
    assert.equal((await token(codeGrant("x".repeat(5000)))).json.error, "invalid_request");
  });

  test("a code that comes twice kills what it issued (invariant 3)", async () => {
    const code = await newCode();
    const tokens = await redeemed(code);
    assert.equal(await whoami(tokens.access_token), 200);
    const again = await token(codeGrant(code));
    await assertRefused(testServer, again, {
      status: 400,
      error: "invalid_grant",
      reason: "code_replayed",
    });
    assert.equal(await whoami(tokens.access_token), 401);
    assert.equal(
      (await refresh(testServer.baseUrl, clients.own, tokens.refresh_token)).body.error,
      "invalid_grant",
    );
  });

  test("a replay by someone who lacks the verifier or is another client kills nothing", async () => {
    const code = await newCode();
    const tokens = await redeemed(code);
    await token(codeGrant(code, { code_verifier: "w".repeat(43) }));
    await token(codeGrant(code, { client_id: clients.other.client_id }));
    await token(codeGrant(code, { client_id: "unknown" }));
    assert.equal(await whoami(tokens.access_token), 200);
  });

  test("ten redemptions of one code at once: one wins, and then all is revoked", async () => {
    const code = await newCode();
    const replies = await Promise.all(Array.from({ length: 10 }, () => token(codeGrant(code))));
    const winners = replies.filter(({ status }) => status === 200);
    assert.equal(winners.length, 1);
    const [winner] = winners;
    assert.equal(await whoami(secrets.keepTokens(winner?.json).access_token), 401);
  });

  test("a code lives a minute, to the second", async () => {
    const [intime, late] = [await newCode(), await newCode()];
    try {
      testServer.clock.ahead = 58;
      await redeemed(intime);
      testServer.clock.ahead = 60;
      await assertRefused(testServer, await token(codeGrant(late)), {
        status: 400,
        error: "invalid_grant",
        reason: "expired_code",
      });
    } finally {
      testServer.clock.ahead = 0;
    }
  });

  test("a resource spelled differently but ours is ours (A13)", async () => {
    await redeemed(await newCode(), { resource: `${testServer.url}/` });
    await redeemed(await newCode(), {
      resource: testServer.url.replace("http://localhost", "HTTP://LOCALHOST"),
    });
  });

  test("no code, token, verifier or secret is in the log", () => secrets.assertNotLogged(testServer));
});
