/** Who is calling /token: by its own method, with its own secret, and one of each. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { type Registered, register } from "../support/oauth-client.ts";
import { assertRefused, type Reply, sendRequest } from "./support.ts";
import { useTokenRequests } from "./token-requests.ts";

describe("bad input at /token: who is calling", () => {
  const { testServer, clients, secrets, token, codeGrant, refreshGrant, newCode, newTokens, redeemed } =
    useTokenRequests();
  const invalidClient = { status: 401, error: "invalid_client" };
  const basic = (id: string, secret: string) => ({
    authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`,
  });
  const secretOf = ({ client_secret }: Registered) => secrets.keep(client_secret) ?? "";

  async function assertUnauthorized(reply: Reply, reason: string, describes = /./) {
    await assertRefused(testServer, reply, { ...invalidClient, reason, describes });
  }
  /** RFC 6749 §5.2: who tried the Authorization header is told which scheme is meant. */
  async function assertBasicUnauthorized(reply: Reply, reason: string, describes = /./) {
    await assertUnauthorized(reply, reason, describes);
    assert.match(reply.headers.get("www-authenticate") ?? "", /^Basic realm="/);
  }

  test("whoever is refused is refused, although the grant of their token cannot be read: nobody waits for that", async (t) => {
    const { refresh_token: refreshToken } = await newTokens();
    const { get } = testServer.records;
    const cannot = t.mock.method(testServer.records, "get", async (key: string) => {
      if (!key.startsWith("grant:")) return await get(key);
      throw new UnavailableError("storage", { reason: "redis_unavailable" });
    });
    await assertUnauthorized(await token(refreshGrant(refreshToken, { client_id: "x" })), "unknown_client");
    await assert.rejects(token(refreshGrant(refreshToken)), /answered 503/, "an outage is nobody's fault");
    cannot.mock.restore();
    const reply = await token(refreshGrant(refreshToken));
    assert.equal(reply.status, 200, reply.text);
    secrets.keepTokens(reply.json);
  });

  test("an unknown client is told to register again, with 401 (RFC 6749 §5.2)", async () => {
    for (const id of ["unknown", "__proto__", "x".repeat(4000), "\u0000"])
      await assertUnauthorized(
        await token(codeGrant("x", { client_id: id })),
        "unknown_client",
        /register again/,
      );
    await assertBasicUnauthorized(
      await token({ grant_type: "refresh_token" }, basic("unknown", "secret")),
      "unknown_client",
    );
  });

  test("a request that names no client is refused", async () => {
    for (const client_id of [undefined, ""])
      await assertUnauthorized(await token(codeGrant("x", { client_id })), "no_client_id", /send client_id/);
  });

  test("a confidential client must prove it, by its own method, with its own secret", async () => {
    const post = await register(testServer.baseUrl, { token_endpoint_auth_method: "client_secret_post" });
    const header = await register(testServer.baseUrl, {
      token_endpoint_auth_method: "client_secret_basic",
    });
    const [postSecret, headerSecret] = [secretOf(post), secretOf(header)];
    const asPost = (client_secret?: string) =>
      token(codeGrant("x", { client_id: post.client_id, client_secret }));
    await assertUnauthorized(await asPost(), "wrong_auth_method", /client_secret_post but used none/);
    await assertUnauthorized(await asPost("wrong"), "wrong_client_secret");
    await assertUnauthorized(await asPost(headerSecret), "wrong_client_secret");
    await assertUnauthorized(await asPost(`${postSecret} `), "wrong_client_secret");
    const byHeader = await token(codeGrant("x", { client_id: undefined }), basic(post.client_id, postSecret));
    await assertBasicUnauthorized(byHeader, "wrong_auth_method", /client_secret_basic/);
    assert.equal(
      (await asPost(postSecret)).json.error,
      "invalid_grant",
      "and with it, the code is what is wrong",
    );

    const asHeader = (secret: string) =>
      token(codeGrant("x", { client_id: undefined }), basic(header.client_id, secret));
    await assertBasicUnauthorized(await asHeader("wrong"), "wrong_client_secret");
    await assertBasicUnauthorized(await asHeader(""), "wrong_auth_method", /but used none/);
    await assertBasicUnauthorized(await asHeader(postSecret), "wrong_client_secret");
    assert.equal((await asHeader(headerSecret)).json.error, "invalid_grant");
    const inBody = await token(codeGrant("x", { client_id: header.client_id, client_secret: headerSecret }));
    await assertUnauthorized(inBody, "wrong_auth_method", /client_secret_basic but used client_secret_post/);
  });

  test("Basic credentials are percent-decoded (RFC 6749 §2.3.1)", async () => {
    const confidential = await register(testServer.baseUrl, {
      token_endpoint_auth_method: "client_secret_basic",
    });
    const encoded = (text: string) =>
      [...text].map((letter) => `%${letter.charCodeAt(0).toString(16).padStart(2, "0")}`).join("");
    const headers = basic(encoded(confidential.client_id), encoded(secretOf(confidential)));
    const reply = await token(codeGrant("x", { client_id: undefined }), headers);
    assert.equal(reply.json.error, "invalid_grant");
    for (const broken of ["%", "%zz", "%ff"])
      await assertBasicUnauthorized(
        await token({ grant_type: "refresh_token" }, basic(confidential.client_id, broken)),
        "malformed_basic",
        /percent-encoded/,
      );
  });

  test("an Authorization header that is no Basic", async () => {
    const { access_token } = await newTokens();
    const headers = ["Basic", "Basic !!!", "Basic bm9jb2xvbg==", "Digest x", `Bearer ${access_token}`, "x"];
    for (const authorization of headers)
      await assertBasicUnauthorized(
        await token(codeGrant("x"), { authorization }),
        "malformed_basic",
        /not valid HTTP Basic/,
      );
  });

  test("two methods at once are one too many", async () => {
    const confidential = await register(testServer.baseUrl, {
      token_endpoint_auth_method: "client_secret_basic",
    });
    const secret = secretOf(confidential);
    const headers = basic(confidential.client_id, secret);
    for (const fields of [
      { client_id: confidential.client_id, client_secret: secret },
      { client_id: clients.other.client_id, client_secret: undefined },
    ])
      await assertRefused(testServer, await token(codeGrant("x", fields), headers), {
        status: 400,
        error: "invalid_request",
        reason: "two_auth_methods",
        describes: /use one/,
      });
    const same = await token(codeGrant("x", { client_id: confidential.client_id }), headers);
    assert.equal(same.json.error, "invalid_grant");
  });

  test("an empty client_secret or client_id beside Basic counts as omitted (RFC 6749 §3.2)", async () => {
    const confidential = await register(testServer.baseUrl, {
      token_endpoint_auth_method: "client_secret_basic",
    });
    const headers = basic(confidential.client_id, secretOf(confidential));
    for (const fields of [{ client_secret: "" }, { client_id: "" }]) {
      const reply = await token(codeGrant("x", { client_id: confidential.client_id, ...fields }), headers);
      assert.equal(reply.json.error, "invalid_grant");
    }
  });

  test("a public client that sends a secret is not let in by ignoring it", async () => {
    const code = await newCode();
    await assertUnauthorized(
      await token(codeGrant(code, { client_secret: "anything" })),
      "wrong_auth_method",
      /none but used client_secret_post/,
    );
    await assertBasicUnauthorized(
      await token(codeGrant(code, { client_id: undefined }), basic(clients.own.client_id, "anything")),
      "wrong_auth_method",
    );
    await redeemed(code, { client_secret: "" });
  });

  test("an empty Basic secret of a public client is none (RFC 6749 §2.3.1)", async () => {
    const headers = basic(clients.own.client_id, "");
    const reply = await token(codeGrant(await newCode(), { client_id: undefined }), headers);
    assert.equal(reply.status, 200, reply.text);
    secrets.keepTokens(reply.json);
  });

  test("client_id sent twice is a repeated parameter", async () => {
    const reply = await sendRequest(`${testServer.baseUrl}/token`, {
      form: [
        ["client_id", clients.own.client_id],
        ["client_id", clients.own.client_id],
        ["grant_type", "refresh_token"],
        ["refresh_token", "x"],
      ],
    });
    await assertRefused(testServer, reply, {
      status: 400,
      error: "invalid_request",
      reason: "repeated_parameter",
    });
  });

  test("no code, token, verifier or secret is in the log", () => secrets.assertNotLogged(testServer));
});
