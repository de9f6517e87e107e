/** What a backend is told of a caller by configuration: headers of the operator's choice, and a token of the user's own for it. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { createRemoteJWKSet, decodeJwt, jwtVerify } from "jose";
import { remoteServerMistakes, remoteServerOf } from "../../src/config/remote-server.ts";
import { reasonOf } from "../attacks/support.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import { postForm, type Registered, register, revoke, signInForTokens } from "../support/oauth-client.ts";
import { startTestServer, type TestServer } from "../support/test-server.ts";
import { type AnsweringBackend, startAnsweringBackend } from "./answering-backend.ts";

const ORDERS_API = "https://orders.example.com";
const MACHINE = {
  client_id: "nightly",
  client_secret: "the-secret-of-a-machine-0123456789abcdef",
  grant_types: ["client_credentials"],
  scope: "weather:read",
};
/** As in server.yaml. */
const HEADERS = {
  user: "x-forwarded-user",
  email: "x-forwarded-email",
  groups: "x-forwarded-groups",
  scopes: "x-forwarded-scopes",
  client: "x-forwarded-client",
};
const described = (server: string, identity: object) => {
  const entry = {
    server,
    audience: "crm",
    identity,
    headers: { "x-api-key": "key" },
    scopes: SCOPES,
    needs: { tools: { find: [] }, prompts: { "*": [] } },
  };
  assert.deepEqual(remoteServerMistakes(entry, []), []);
  return remoteServerOf(entry);
};
const SCOPES = {
  "orders:read": "Read your orders",
  "orders:write": { description: "Place orders", whenNeeded: true },
};
const person = (subject: string, email: string, groups: readonly string[]) => ({
  subject,
  name: subject,
  email,
  permissions: ["orders:read", "orders:write", "orders:export", "weather:read"],
  claims: { groups },
});

describe("what a backend is told of a caller", () => {
  let provider: FaultyProxy;
  let backend: AnsweringBackend;
  let testServer: TestServer;
  let client: Registered;
  const audited: Array<Record<string, unknown>> = [];

  before(async () => {
    [provider, backend] = await Promise.all([startFaultyProxy(), startAnsweringBackend()]);
    const resource = (path: string, identity: object) => ({
      path,
      name: path,
      features: { tools: [], scopes: SCOPES },
      backend: described(backend.url, identity),
    });
    testServer = await startTestServer({
      throughProxy: provider,
      behaviour: { accessTokenSeconds: 600 },
      apiScopes: ["orders:read", "orders:write"],
      otherApis: { [ORDERS_API]: ["orders:read", "orders:write", "orders:export"] },
      users: [
        person("alice", "alice@example.com", ["sales", "Domain Admins", "a,b", "100%", "Ärzte"]),
        person("zoe, root", "zoe@example.com", ["a\r\nx-forwarded-user: root", " b "]),
        person("carl", "carl@example.com", []),
      ],
      furtherResources: [
        resource("/plain/mcp", { headers: HEADERS }),
        resource("/token/mcp", { token: { audience: ORDERS_API, scopes: ["orders:export"] } }),
        resource("/declared/mcp", { token: { audience: ORDERS_API, scopes: ["orders:write"] } }),
      ],
      environment: {
        ACCESS_TOKEN_SECONDS: "86400",
        UPSTREAM_TIMEOUT_SECONDS: "5",
        KEPT_CLAIMS: "groups",
        CLIENTS: JSON.stringify([MACHINE]),
      },
      auditStream: { write: (line) => audited.push(JSON.parse(line)) },
    });
    client = await register(testServer.baseUrl);
  });
  after(async () => {
    await testServer?.close();
    await Promise.all([provider?.close(), backend?.close()]);
  });
  beforeEach(() => {
    backend.came.length = 0;
    backend.answer = undefined;
    provider.answer = undefined;
    provider.fault = undefined;
    provider.seen.length = 0;
    audited.length = 0;
  });

  const tokenFor = async (path: string, options: Parameters<typeof signInForTokens>[2] = {}) => {
    return (await signInForTokens(testServer.baseUrl, client, { ...options, path })).access_token;
  };
  const CALL = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "find" } };
  function send(path: string, token: string, message: unknown = CALL, headers: Record<string, string> = {}) {
    return fetch(`${testServer.baseUrl}${path}`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${token}`,
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
        ...headers,
      },
      body: JSON.stringify(message),
    });
  }
  const seen = () => backend.came.at(-1)?.headers ?? assert.fail("nothing came");
  const exchanges = () => provider.seen.filter(({ grantType }) => grantType?.endsWith("token-exchange"));
  // biome-ignore lint/suspicious/noExplicitAny: answers of every shape
  const json = (answered: Response): Promise<any> => answered.json();

  describe("in headers of the operator's choice", () => {
    test("who it is, through which client, and what they may do: the same as in the signed identity", async () => {
      const token = await tokenFor("/plain/mcp");
      assert.equal((await send("/plain/mcp", token)).status, 200);
      const headers = seen();
      const claims = decodeJwt(String(headers["x-mcp-identity-assertion"]));
      assert.equal(headers["x-forwarded-user"], claims.sub);
      assert.equal(headers["x-forwarded-user"], `${testServer.identityProvider.issuer}#alice`);
      assert.equal(headers["x-forwarded-email"], "alice@example.com");
      assert.equal(headers["x-forwarded-groups"], "sales,Domain Admins,a%2Cb,100%25,%C3%84rzte");
      assert.equal(headers["x-forwarded-scopes"], "orders:read");
      assert.equal(headers["x-forwarded-client"], client.client_id);
    });

    test("a client's own of these names never arrive, however they are spelled", async () => {
      const token = await tokenFor("/plain/mcp", { login: "zoe, root" });
      const forged = Object.values(HEADERS).flatMap((name) => [
        [name, "forged"],
        [name.replaceAll("-", "_"), "forged"],
        [name.toUpperCase(), "forged"],
        [name.replace("-", "_"), "forged"],
      ]);
      const answered = await send("/plain/mcp", token, CALL, Object.fromEntries(forged));
      assert.equal(answered.status, 200);
      const came = backend.came.at(-1)?.headers ?? {};
      assert.ok(!JSON.stringify(came).includes("forged"), JSON.stringify(came));
      assert.match(String(came["x-forwarded-user"]), /#zoe%2C root$/);
      assert.equal(came["x-forwarded-groups"], "a%0D%0Ax-forwarded-user: root,%20b%20");
    });

    test("no groups are an empty header", async () => {
      const token = await tokenFor("/plain/mcp", { login: "carl" });
      assert.equal((await send("/plain/mcp", token)).status, 200);
      assert.equal(seen()["x-forwarded-groups"], "");
    });

    test("what is not known has no header: a program that acts for itself has no address", async () => {
      const { client_id, client_secret } = MACHINE;
      const { body } = await postForm(`${testServer.baseUrl}/token`, {
        ...{ grant_type: "client_credentials", client_id, client_secret },
        resource: `${testServer.baseUrl}/plain/mcp`,
      });
      assert.equal(
        (await send("/plain/mcp", body.access_token, CALL, { "x-forwarded-email": "a@b.c" })).status,
        200,
      );
      const headers = seen();
      assert.deepEqual(
        [headers["x-forwarded-user"], headers["x-forwarded-email"], headers["x-forwarded-groups"]],
        ["nightly", undefined, undefined],
      );
    });
  });

  describe("by a token of the user's own for it", () => {
    test("which is exchanged once, and sent with everything", async () => {
      const token = await tokenFor("/token/mcp");
      for (const message of [{ jsonrpc: "2.0", method: "notifications/initialized" }, CALL, CALL])
        assert.ok((await send("/token/mcp", token, message)).ok);
      assert.equal(exchanges().length, 1);
      const sent = backend.came.map(({ headers }) => headers.authorization);
      assert.equal(sent.length, 3);
      assert.equal(new Set(sent).size, 1);
      const keys = createRemoteJWKSet(new URL(`${testServer.identityProvider.issuer}/jwks`));
      const { payload } = await jwtVerify(String(sent[0]).replace("Bearer ", ""), keys, {
        audience: ORDERS_API,
      });
      assert.deepEqual([payload.sub, payload.scope], ["alice", "orders:export"]);
    });

    test("a scope that this server has, too, is the client's to bring: 403, and nothing leaves", async () => {
      const lacks = await tokenFor("/declared/mcp");
      const refused = await send("/declared/mcp", lacks);
      assert.equal(refused.status, 403);
      assert.match(
        refused.headers.get("www-authenticate") ?? "",
        /insufficient_scope.*orders:read orders:write/,
      );
      assert.equal(await reasonOf(testServer, refused), "insufficient_scope");
      assert.deepEqual([exchanges().length, backend.came.length], [0, 0]);
      assert.ok(
        audited.some(({ tool, decision, missing }) => tool === "find" && decision === "deny" && missing),
      );
      const has = await tokenFor("/declared/mcp", { parameters: { scope: "orders:read orders:write" } });
      assert.equal((await send("/declared/mcp", has)).status, 200);
    });

    const refusedWith = (error: string, more: object = {}) => {
      provider.answer = {
        status: 400,
        body: JSON.stringify({ error, error_description: "upstream says", ...more }),
      };
    };

    test("what the provider refuses is told in words, in the result of a tool", async () => {
      const token = await tokenFor("/token/mcp");
      refusedWith("consent_required");
      const answered = await send("/token/mcp", token);
      assert.equal(answered.status, 200);
      const { result } = await json(answered);
      assert.equal(result.isError, true);
      assert.match(result.content[0].text, /wants consent before https:\/\/orders\.example\.com/);
      assert.equal(await reasonOf(testServer, answered), "exchange_needs_consent");
      assert.deepEqual(backend.came, []);
      assert.ok(audited.some(({ tool, outcome }) => tool === "find" && outcome === "error"));
    });

    test("and as an error of JSON-RPC for everything else, or alone", async () => {
      const token = await tokenFor("/token/mcp");
      refusedWith("access_denied");
      const prompt = { jsonrpc: "2.0", id: 2, method: "prompts/get", params: { name: "greet" } };
      const { id, error } = await json(await send("/token/mcp", token, prompt));
      assert.deepEqual([id, error.data.reason], [2, "exchange_refused"]);
      const many = await json(await send("/token/mcp", token, [CALL, prompt]));
      assert.deepEqual([many[0].result.isError, many[1].error.data.reason], [true, "exchange_refused"]);
      const notification = { jsonrpc: "2.0", method: "notifications/initialized" };
      assert.equal((await send("/token/mcp", token, notification)).status, 403);
      assert.deepEqual(backend.came, []);
    });

    test("a sign-in that the provider describes is asked of the client: 401 with what it wants, once", async () => {
      const another = await register(testServer.baseUrl);
      const { access_token: token } = await signInForTokens(testServer.baseUrl, another, {
        path: "/token/mcp",
      });
      refusedWith("insufficient_user_authentication", { acr_values: "mfa" });
      const refused = await send("/token/mcp", token);
      assert.equal(refused.status, 401);
      assert.match(
        refused.headers.get("www-authenticate") ?? "",
        /error="insufficient_user_authentication".*acr_values="mfa"/,
      );
      assert.deepEqual(backend.came, []);
    });

    for (const fault of ["reset", "500"] as const)
      test(`an outage of the provider (${fault}) is 503, and no sign-in`, async () => {
        const token = await tokenFor("/token/mcp");
        provider.fault = fault;
        const failed = await send("/token/mcp", token);
        assert.equal(failed.status, 503);
        assert.deepEqual(
          [failed.headers.get("www-authenticate"), failed.headers.get("retry-after")],
          [null, "5"],
        );
        const { id, error } = await json(failed);
        assert.deepEqual([id, error.data.reason], [1, await reasonOf(testServer, failed)]);
        assert.match(error.data.reason, /^identity_provider_/);
        assert.deepEqual(backend.came, []);
      });

    test("nobody signed in for a program: it is told so", async () => {
      const { client_id, client_secret } = MACHINE;
      const { body } = await postForm(`${testServer.baseUrl}/token`, {
        ...{ grant_type: "client_credentials", client_id, client_secret },
        resource: `${testServer.baseUrl}/token/mcp`,
      });
      const { result } = await json(await send("/token/mcp", body.access_token));
      assert.match(result.content[0].text, /^This needs a user who signed in at the identity provider/);
    });

    test("one that the backend does not take any more is exchanged anew for whoever calls next, and that once", async () => {
      const token = await tokenFor("/token/mcp");
      await send("/token/mcp", token);
      const first = seen().authorization;
      testServer.clock.ahead += 120;
      backend.answer = (res) => res.writeHead(401).end();
      assert.equal((await send("/token/mcp", token)).status, 502);
      assert.equal(seen().authorization, first);
      assert.equal(backend.came.length, 2, "nothing is sent twice");
      for (let call = 0; call < 3; call++) assert.equal((await send("/token/mcp", token)).status, 502);
      assert.notEqual(seen().authorization, first);
      assert.equal(exchanges().length, 2, "the new one is kept, although it is refused, too");
      testServer.clock.ahead = 0;
    });

    test("the backend's own refusal of it is no challenge of ours", async () => {
      const token = await tokenFor("/token/mcp");
      backend.answer = (res) => res.writeHead(401, { "www-authenticate": "Bearer" }).end();
      const failed = await send("/token/mcp", token);
      assert.deepEqual([failed.status, failed.headers.get("www-authenticate")], [502, null]);
    });

    test("it ends with the session, and is in no log", async () => {
      const token = await tokenFor("/token/mcp");
      await send("/token/mcp", token);
      const exchanged = String(seen().authorization).replace("Bearer ", "");
      assert.ok(!JSON.stringify([testServer.log, audited]).includes(exchanged));
      await revoke(testServer.baseUrl, client, token);
      assert.equal((await send("/token/mcp", token)).status, 401);
    });
  });
});
