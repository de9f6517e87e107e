/** Requests to /token that are none: the wrong method, type, size or encoding, parameters that come twice, or in the query. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assertRefused, reasonOf, sendRequest } from "./support.ts";
import { useTokenRequests } from "./token-requests.ts";

describe("bad input at /token: the request itself", () => {
  const { testServer, clients, secrets, token, codeGrant, newCode, redeemed } = useTokenRequests();

  test("a parameter sent twice is refused by name, and the code survives it", async () => {
    const code = await newCode();
    const fields = Object.entries(codeGrant(code)) as Array<[string, string]>;
    for (const name of ["grant_type", "code", "code_verifier", "redirect_uri"]) {
      const value = fields.find(([field]) => field === name)?.[1] ?? "";
      const reply = await sendRequest(`${testServer.baseUrl}/token`, { form: [...fields, [name, value]] });
      await assertRefused(testServer, reply, {
        status: 400,
        error: "invalid_request",
        reason: "repeated_parameter",
        describes: new RegExp(`${name}.* is sent more than once`),
      });
    }
    await redeemed(code);
  });

  test("JSON, plain text, nothing: told which type to send, and the code survives it", async () => {
    const code = await newCode();
    const url = `${testServer.baseUrl}/token`;
    const form = new URLSearchParams(codeGrant(code) as Record<string, string>).toString();
    for (const attempt of [
      { json: codeGrant(code) },
      { body: form, headers: { "content-type": "text/plain" } },
      { body: form, headers: { "content-type": "multipart/form-data; boundary=x" } },
      { method: "POST" },
    ])
      await assertRefused(testServer, await sendRequest(url, attempt), {
        status: 400,
        error: "invalid_request",
        reason: "wrong_content_type",
        describes: /application\/x-www-form-urlencoded/,
      });
    await redeemed(code);
  });

  test("credentials in the query are not looked at", async () => {
    const code = await newCode();
    const query = new URLSearchParams(codeGrant(code) as Record<string, string>);
    const reply = await sendRequest(`${testServer.baseUrl}/token?${query}`, { form: { x: "y" } });
    await assertRefused(testServer, reply, {
      status: 401,
      error: "invalid_client",
      reason: "no_client_id",
    });
    await redeemed(code);
  });

  test("too large, too many, broken encodings", async () => {
    const url = `${testServer.baseUrl}/token`;
    const type = { "content-type": "application/x-www-form-urlencoded" };
    const attempts: Array<[Parameters<typeof sendRequest>[1], number]> = [
      [{ form: codeGrant("x".repeat(100_000)) as Record<string, string> }, 413],
      [{ body: Array.from({ length: 2000 }, (_, n) => `p${n}=1`).join("&"), headers: type }, 413],
      [{ body: "a=b", headers: { "content-type": `${type["content-type"]}; charset=utf-16` } }, 415],
    ];
    for (const [attempt, status] of attempts)
      await assertRefused(testServer, await sendRequest(url, attempt), {
        status,
        error: "invalid_request",
        reason: "unreadable_body",
      });
    const invalidUtf8 = await sendRequest(url, { body: "client_id=%ff%fe&grant_type=%00", headers: type });
    assert.equal(invalidUtf8.status, 401);
  });

  test("every method but POST is refused", async () => {
    for (const path of ["/token", "/revoke"])
      for (const method of ["GET", "HEAD", "PUT", "DELETE"]) {
        const reply = await sendRequest(`${testServer.baseUrl}${path}`, { method });
        assert.equal(reply.status, 405);
        assert.equal(reply.headers.get("allow"), "POST");
        assert.equal(await reasonOf(testServer, reply), "wrong_method");
      }
  });

  test("an authenticated client cannot flood the log with what it sends", async () => {
    const { length } = testServer.log;
    await reasonOf(testServer, await token(codeGrant("x", { grant_type: "g".repeat(50_000) })));
    for (const line of testServer.log.slice(length)) assert.ok(JSON.stringify(line).length < 4000);
  });

  test("descriptions use only the characters that RFC 6749 §5.2 allows", async () => {
    const replies = [
      await token({ client_id: clients.own.client_id }),
      await token(codeGrant("x", { code_verifier: undefined })),
      await sendRequest(`${testServer.baseUrl}/token`, {
        form: [
          ["client_id", clients.own.client_id],
          ["code", "1"],
          ["code", "2"],
        ],
      }),
    ];
    for (const { json } of replies) assert.match(json.error_description, /^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/);
  });

  test("no code, token, verifier or secret is in the log", () => secrets.assertNotLogged(testServer));
});
