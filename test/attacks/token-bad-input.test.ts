/** Bad input at /token: the RFC's code and status, and nothing that the rightful client loses by a stranger's attempt. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { z } from "zod";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import {
  authorize,
  callTool,
  REDIRECT_URI,
  type Registered,
  refresh,
  register,
  revoke,
  signInForTokens,
  type Tokens,
  VERIFIER,
} from "../support/oauth-client.ts";
import { useTestServer } from "../support/test-server.ts";
import { assertRefused, type Refusal, type Reply, reasonOf, Secrets, sendRequest } from "./support.ts";

type Fields = Record<string, string | undefined>;

/** A second scope that the identity provider grants, so that a token can be limited to one of them. */
const readMail = defineTool({
  name: "read_mail",
  description: "Needs a scope of its own",
  scopes: ["email"],
  input: z.object({}),
  run: () => "no mail",
});

describe("bad input at /token", () => {
  const secrets = new Secrets();
  secrets.keep(VERIFIER);
  let client: Registered;
  let other: Registered;
  const testServer = useTestServer({
    tools: [readMail],
    scopes: {
      email: "Read your mail",
      "orders:write": { description: "Cancel your orders", whenNeeded: true },
    },
  });
  before(async () => {
    client = await register(testServer.baseUrl);
    other = await register(testServer.baseUrl, { client_name: "Another client" });
  });

  const token = (fields: Fields, headers: Record<string, string> = {}) => {
    const form = Object.entries(fields).filter((entry): entry is [string, string] => entry[1] !== undefined);
    return sendRequest(`${testServer.baseUrl}/token`, { form, headers });
  };
  const codeGrant = (code: string, fields: Fields = {}): Fields => ({
    grant_type: "authorization_code",
    code,
    code_verifier: VERIFIER,
    redirect_uri: REDIRECT_URI,
    client_id: client.client_id,
    ...fields,
  });
  const refreshGrant = (refreshToken: string, fields: Fields = {}): Fields => ({
    grant_type: "refresh_token",
    refresh_token: refreshToken,
    client_id: client.client_id,
    ...fields,
  });

  async function newCode(of = client): Promise<string> {
    const code = secrets.keep((await authorize(testServer.baseUrl, of)).get("code"));
    assert.ok(code);
    return code;
  }
  async function newTokens(of = client): Promise<Tokens> {
    return secrets.keepTokens(await signInForTokens(testServer.baseUrl, of));
  }
  async function redeemed(code: string, fields: Fields = {}): Promise<Tokens> {
    const reply = await token(codeGrant(code, fields));
    assert.equal(reply.status, 200, reply.text);
    return secrets.keepTokens(reply.json);
  }
  const whoami = async (accessToken: string) =>
    (await callTool(testServer.url, accessToken, "whoami")).status;

  describe("the authorization code", () => {
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
      const byAnother = await token(codeGrant(code, { client_id: other.client_id }));
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
      const reply = await token(codeGrant(code, { client_id: other.client_id }));
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
        (await refresh(testServer.baseUrl, client, tokens.refresh_token)).body.error,
        "invalid_grant",
      );
    });

    test("a replay by someone who lacks the verifier or is another client kills nothing", async () => {
      const code = await newCode();
      const tokens = await redeemed(code);
      await token(codeGrant(code, { code_verifier: "w".repeat(43) }));
      await token(codeGrant(code, { client_id: other.client_id }));
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
  });

  describe("the refresh token", () => {
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
          { client_id: other.client_id },
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
        await signInForTokens(testServer.baseUrl, client, { parameters: { scope } }),
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
      assert.equal((await refresh(testServer.baseUrl, client, another.refresh_token)).status, 200);
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
  });

  describe("who is calling", () => {
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
        await assertUnauthorized(
          await token(codeGrant("x", { client_id })),
          "no_client_id",
          /send client_id/,
        );
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
      const byHeader = await token(
        codeGrant("x", { client_id: undefined }),
        basic(post.client_id, postSecret),
      );
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
      const inBody = await token(
        codeGrant("x", { client_id: header.client_id, client_secret: headerSecret }),
      );
      await assertUnauthorized(
        inBody,
        "wrong_auth_method",
        /client_secret_basic but used client_secret_post/,
      );
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
        { client_id: other.client_id, client_secret: undefined },
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
        await token(codeGrant(code, { client_id: undefined }), basic(client.client_id, "anything")),
        "wrong_auth_method",
      );
      await redeemed(code, { client_secret: "" });
    });

    test("an empty Basic secret of a public client is none (RFC 6749 §2.3.1)", async () => {
      const headers = basic(client.client_id, "");
      const reply = await token(codeGrant(await newCode(), { client_id: undefined }), headers);
      assert.equal(reply.status, 200, reply.text);
      secrets.keepTokens(reply.json);
    });

    test("client_id sent twice is a repeated parameter", async () => {
      const reply = await sendRequest(`${testServer.baseUrl}/token`, {
        form: [
          ["client_id", client.client_id],
          ["client_id", client.client_id],
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
  });

  describe("the request itself", () => {
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
  });

  describe("/revoke", () => {
    test("someone else's, unknown and garbled tokens: 200, and nothing changes (RFC 7009 §2.2)", async () => {
      const tokens = await newTokens();
      for (const value of [tokens.refresh_token, tokens.access_token])
        assert.equal((await revoke(testServer.baseUrl, other, value)).status, 200);
      for (const value of ["garbage", `mcp_at_${"A".repeat(65)}`, await newCode()])
        assert.equal((await revoke(testServer.baseUrl, client, value)).status, 200);
      assert.equal(await whoami(tokens.access_token), 200);
    });

    test("no token, no client, two tokens, JSON", async () => {
      const url = `${testServer.baseUrl}/revoke`;
      const { client_id } = client;
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
  });

  test("descriptions use only the characters that RFC 6749 §5.2 allows", async () => {
    const replies = [
      await token({ client_id: client.client_id }),
      await token(codeGrant("x", { code_verifier: undefined })),
      await sendRequest(`${testServer.baseUrl}/token`, {
        form: [
          ["client_id", client.client_id],
          ["code", "1"],
          ["code", "2"],
        ],
      }),
    ];
    for (const { json } of replies) assert.match(json.error_description, /^[\x20-\x21\x23-\x5b\x5d-\x7e]+$/);
  });

  test("no code, token, verifier or secret is in the log", () => secrets.assertNotLogged(testServer));
});
