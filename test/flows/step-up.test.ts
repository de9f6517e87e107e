/**
 * Step-up authentication (RFC 9470): a tool needs a sign-in that is young or strong enough, the client is challenged, the
 * user signs in again, and the call succeeds.
 */
import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { z } from "zod";
import { askedBy, Browser } from "../../dev/client/browser.ts";
import { findLink, textOf, titleOf } from "../../dev/client/html.ts";
import { ACR_VALUES } from "../../dev/identity-provider/ways-to-sign-in.ts";
import { definePrompt } from "../../src/mcp/authoring/define-prompt.ts";
import { defineResource } from "../../src/mcp/authoring/define-resource.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { getAccessToken, requireAuthentication } from "../../src/resource/access-token-context.ts";
import { endEntry, openConnections } from "../support/connections.ts";
import { documentedFeatures } from "../support/documented-features.ts";
import {
  authorizeUrl,
  callTool,
  newBrowser,
  postForm,
  postJson,
  REDIRECT_URI,
  type Registered,
  redeem,
  refresh,
  register,
  rpc,
  signInForTokens,
  toolNames,
  VERIFIER,
} from "../support/oauth-client.ts";
import { fillInForms } from "../support/sign-in.ts";
import { type TestServer, type TestServerOptions, useTestServer } from "../support/test-server.ts";

const [, SECOND_FACTOR] = ACR_VALUES;
const HOUR = 3_600;
const MODERN = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientInfo": { name: "t", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};

const tools = [
  defineTool({
    name: "delete_everything",
    description: "Deletes everything",
    authentication: { maxAgeSeconds: 300 },
    run: () => "deleted",
  }),
  defineTool({
    name: "pay",
    description: "Pays",
    scopes: ["payments"],
    authentication: { acr: ["urn:example:hardware-key", SECOND_FACTOR] },
    run: () => "paid",
  }),
  defineTool({
    name: "transfer",
    description: "Large amounts need a fresh sign-in",
    input: z.object({ amount: z.number(), streamFirst: z.boolean().optional() }),
    async run({ amount, streamFirst }, { progress }) {
      if (streamFirst) await progress(1, 2, "looking");
      if (amount > 1_000) requireAuthentication({ maxAgeSeconds: 300 });
      return "transferred";
    },
  }),
  defineTool({
    name: "how",
    description: "Tells how the caller signed in",
    run() {
      const { authTime, acr } = getAccessToken();
      return JSON.stringify({ authTime, acr });
    },
  }),
];

const resources = [
  defineResource({
    uri: "secrets://all",
    name: "all",
    description: "All secrets",
    authentication: { maxAgeSeconds: 300 },
    read: () => "[]",
  }),
];
const prompts = [
  definePrompt({
    name: "confess",
    description: "Confess",
    authentication: { maxAgeSeconds: 300 },
    run: () => "I did it.",
  }),
];

/** How long ago the next sign-in at the provider was, by what it says. */
let signedInAgo = 0;
const options: TestServerOptions = {
  environment: { CONSENT: "remember" },
  tools,
  resources,
  prompts,
  scopes: { payments: { description: "Pay", whenNeeded: true } },
  apiScopes: ["payments"],
  users: ["alice", "bob"].map((subject) => ({
    subject,
    name: subject,
    email: `${subject}@example.com`,
    permissions: ["weather:read", "payments"],
  })),
  signedInAgo: () => signedInAgo,
};

describe("a tool that needs a fresh or strong sign-in", () => {
  let client: Registered;
  const testServer = useTestServer(async () => ({
    ...options,
    tools: [...tools, ...(await documentedFeatures("docs/tools.md", "## Fresh and strong sign-ins")).tools],
  }));
  beforeEach(async () => {
    client = await register(testServer.baseUrl);
  });

  const signIn = async (parameters: Record<string, string> = {}, browser = newBrowser()) =>
    (await signInForTokens(testServer.baseUrl, client, { browser, parameters })).access_token;
  const call = (token: string, name: string, args: object = {}) =>
    callTool(testServer.url, token, name, args);
  const transfer = (
    token: string,
    args: object,
    era: "2025" | "2026",
    transport: "direct" | "SDK",
    progressToken = "",
  ) => {
    const _meta = { ...(progressToken && { progressToken }), ...(era === "2026" && MODERN) };
    const params = { name: "transfer", arguments: args, _meta };
    const message = { jsonrpc: "2.0", id: 1, method: "tools/call", params };
    return postJson(testServer.url, message, {
      authorization: `Bearer ${token}`,
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": era === "2026" ? "2026-07-28" : "2025-06-18",
      ...(era === "2026" && {
        "mcp-method": "tools/call",
        // Encoded, which the direct transport leaves to the SDK's own handler.
        "mcp-name": transport === "SDK" ? `=?base64?${btoa("transfer")}?=` : "transfer",
      }),
    });
  };
  const how = async (token: string, url = testServer.url) =>
    JSON.parse((await callTool(url, token, "how")).body.result.content[0].text);

  test("a stale sign-in is challenged with what is needed; a fresh one in the same browser is enough", async () => {
    const browser = newBrowser();
    signedInAgo = HOUR;
    const stale = await signIn({ max_age: "7200" }, browser);
    signedInAgo = 0;
    const refused = await call(stale, "delete_everything");
    assert.equal(refused.status, 401);
    const challenge = challengeOf(refused);
    assert.equal(challenge.error, "insufficient_user_authentication");
    assert.equal(challenge.max_age, "300");
    assert.match(challenge.error_description ?? "", /at most 5 minutes old\. Sign in again/);
    assert.match(challenge.resource_metadata ?? "", /\/\.well-known\/oauth-protected-resource\/mcp$/);
    assert.equal(challenge.scope, "weather:read");
    assert.equal(refused.body.error, "insufficient_user_authentication");

    const fresh = await signIn({ max_age: challenge.max_age, scope: challenge.scope }, browser);
    const answer = await call(fresh, "delete_everything");
    assert.equal(answer.body.result.content[0].text, "deleted");
    const { authTime } = await how(fresh);
    assert.ok(Math.abs(authTime - Date.now() / 1000) < 60, `${authTime}`);
  });

  test("a sign-in of which nothing is known is not enough, and a fresh one does not stay fresh", async (t) => {
    assert.equal((await call(await signIn(), "delete_everything")).status, 401);
    const fresh = await signIn({ max_age: "300" });
    assert.equal((await call(fresh, "delete_everything")).status, 200);
    testServer.clock.ahead += 400;
    t.after(() => {
      testServer.clock.ahead -= 400;
    });
    assert.equal((await call(fresh, "delete_everything")).status, 401);
  });

  test("a refresh makes no authentication younger, and loses none", async (t) => {
    const parameters = { max_age: "300", scope: "weather:read offline_access" };
    const tokens = await signInForTokens(testServer.baseUrl, client, { parameters });
    const { authTime } = await how(tokens.access_token);
    testServer.clock.ahead += 400;
    t.after(() => {
      testServer.clock.ahead -= 400;
    });
    const { body } = await refresh(testServer.baseUrl, client, tokens.refresh_token ?? "");
    assert.equal((await how(body.access_token)).authTime, authTime);
    assert.equal((await call(body.access_token, "delete_everything")).status, 401);
  });

  test("lacking a scope as well, the client is told both at once", async () => {
    const weak = await signIn();
    const challenge = challengeOf(await call(weak, "pay"));
    assert.equal(challenge.error, "insufficient_user_authentication");
    assert.equal(challenge.acr_values, `urn:example:hardware-key ${SECOND_FACTOR}`);
    assert.equal(challenge.max_age, undefined);
    assert.equal(challenge.scope, "weather:read payments");
    const { acr_values = "", scope = "" } = challenge;
    const strong = await signIn({ acr_values, scope });
    assert.equal((await call(strong, "pay")).body.result.content[0].text, "paid");
    assert.equal((await how(strong)).acr, SECOND_FACTOR);
  });

  test("a session at the provider that is too weak is signed in again, in the same browser", async () => {
    const browser = newBrowser();
    await signIn({}, browser);
    const strong = await signIn({ acr_values: SECOND_FACTOR, scope: "payments" }, browser);
    assert.equal((await call(strong, "pay")).status, 200);
  });

  test("resources and prompts are challenged as tools are; all of them are listed", async () => {
    const token = await signIn();
    const calls: Array<[method: string, params: object]> = [
      ["resources/read", { uri: "secrets://all" }],
      ["prompts/get", { name: "confess" }],
    ];
    for (const [method, params] of calls) {
      const answer = await rpc(testServer.url, token, method, params);
      assert.equal(answer.status, 401, method);
      assert.equal(challengeOf(answer).max_age, "300");
    }
    assert.ok((await toolNames(testServer.url, token)).includes("delete_everything"));
  });

  for (const era of ["2025", "2026"] as const)
    for (const transport of ["direct", "SDK"] as const) {
      // A batch apart, the direct transport serves every call of 2025.
      if (era === "2025" && transport === "SDK") continue;
      test(`requireAuthentication() in ${era} over the ${transport} transport: 401 before the first byte`, async () => {
        const token = await signIn();
        const refused = await transfer(token, { amount: 5_000 }, era, transport);
        assert.equal(refused.status, 401);
        assert.equal(challengeOf(refused).max_age, "300");
        assert.equal((await transfer(token, { amount: 5 }, era, transport)).status, 200);
        const fresh = await signIn({ max_age: "300" });
        assert.equal((await transfer(fresh, { amount: 5_000 }, era, transport)).status, 200);
      });
    }

  test("after something was sent it is an error in the result that says what to do", async () => {
    const args = { amount: 5_000, streamFirst: true };
    const { status, body } = await transfer(await signIn(), args, "2025", "direct", "p1");
    assert.equal(status, 200);
    assert.equal(body.result.isError, true);
    assert.match(body.result.content[0].text, /Sign in again in your application, then call again/);
  });

  test("docs/tools.md: its tools do what it says", async () => {
    const token = await signIn();
    assert.equal((await call(token, "delete_account", { account: "x" })).status, 401);
    assert.equal((await call(token, "transfer_money", { amount: 5 })).status, 200);
    const { max_age, acr_values } = challengeOf(await call(token, "transfer_money", { amount: 5_000 }));
    assert.deepEqual([max_age, acr_values], ["300", SECOND_FACTOR]);
    const fresh = await signIn({ max_age: "300", acr_values: SECOND_FACTOR });
    const deleted = await call(fresh, "delete_account", { account: "x" });
    assert.equal(deleted.body.result.content[0].text, "x is deleted.");
    assert.equal((await call(fresh, "transfer_money", { amount: 5_000 })).status, 200);
  });

  test("it is audited, and in the request's line", async () => {
    const before = testServer.log.length;
    await call(await signIn(), "delete_everything");
    const lines = testServer.log.slice(before);
    const audited = lines.find(({ audit }) => audit === "tool_call");
    assert.equal(audited?.decision, "deny");
    assert.equal(audited?.reason, "insufficient_user_authentication");
    assert.equal(audited?.subject, "alice");
    assert.ok(
      lines.some(({ reason, path }) => reason === "insufficient_user_authentication" && path === "/mcp"),
    );
  });

  test("another replica knows the authentication from the grant; a grant without one counts as unknown", async () => {
    const fresh = await signIn({ max_age: "300" });
    const replica = await testServer.replica();
    assert.equal((await callTool(`${replica}/mcp`, fresh, "delete_everything")).status, 200);
    assert.deepEqual(await how(fresh, `${replica}/mcp`), await how(fresh));
    assert.deepEqual(await how(await signIn()), {});
  });

  test("introspection tells it (RFC 9470 §6.2)", async () => {
    const confidential = await register(testServer.baseUrl, {
      token_endpoint_auth_method: "client_secret_post",
    });
    const parameters = { max_age: "300" };
    const browser = newBrowser();
    const url = authorizeUrl(testServer.baseUrl, confidential, parameters);
    const { redirectedTo } = await fillInForms(browser, url);
    const secret = { client_secret: confidential.client_secret ?? "" };
    const { body } = await postForm(`${testServer.baseUrl}/token`, {
      grant_type: "authorization_code",
      code: redirectedTo?.searchParams.get("code") ?? "",
      client_id: confidential.client_id,
      code_verifier: VERIFIER,
      ...secret,
    });
    const introspection = await postForm(`${testServer.baseUrl}/introspect`, {
      token: body.access_token,
      client_id: confidential.client_id,
      ...secret,
    });
    assert.equal(introspection.body.auth_time, (await how(body.access_token)).authTime);
  });

  describe("for a client that knows no RFC 9470", () => {
    const scope = "weather:read offline_access";

    test("a sign-in after the challenge, without its parameters, has the user sign in again, once", async () => {
      const browser = newBrowser();
      const weak = await signIn({}, browser);
      const replica = await testServer.replica();
      assert.equal((await callTool(`${replica}/mcp`, weak, "delete_everything")).status, 401);
      const before = browser.history.length;
      const fresh = await signIn({}, browser);
      const asked = browser.history.slice(before).filter(({ url }) => new URL(url).pathname === "/auth");
      assert.deepEqual(
        asked.map(({ url }) => new URL(url).searchParams.get("max_age")),
        [null, "300"],
        "the provider is asked a second time, and for this",
      );
      assert.equal((await call(fresh, "delete_everything")).body.result.content[0].text, "deleted");
      assert.deepEqual(await how(await signIn({}, browser)), {}, "the next sign-in is as any other");
    });

    test("what was allowed stays allowed: the user is not asked for consent again", async () => {
      const browser = newBrowser();
      const weak = await signIn({ scope: "weather:read payments" }, browser);
      assert.equal((await call(weak, "pay")).status, 401);
      const before = browser.history.length;
      const strong = await signIn({ scope: "weather:read payments" }, browser);
      const consents = browser.history
        .slice(before)
        .filter(({ url }) => new URL(url).pathname === "/consent");
      assert.equal(consents.length, 1);
      assert.equal((await call(strong, "pay")).body.result.content[0].text, "paid");
    });

    test("one that refreshes instead, and calls again, is told in words: it is not challenged for ever", async () => {
      for (const name of ["delete_everything", "transfer"]) {
        const refreshing = await register(testServer.baseUrl);
        const tokens = await signInForTokens(testServer.baseUrl, refreshing, { parameters: { scope } });
        const args = name === "transfer" ? { amount: 5_000 } : {};
        assert.equal((await call(tokens.access_token, name, args)).status, 401);
        assert.equal((await call(tokens.access_token, name, args)).status, 401, "the same token: the same");
        const { body } = await refresh(testServer.baseUrl, refreshing, tokens.refresh_token ?? "");
        const told = await call(body.access_token, name, args);
        assert.equal(told.status, 200, name);
        assert.equal(told.body.result.isError, true);
        assert.match(told.body.result.content[0].text, /Sign in again in your application, then call again/);
      }
    });

    test("what the user ended during the first sign-in is not opened again by the second", async () => {
      const ended = await register(testServer.baseUrl, { client_name: "Ended meanwhile" });
      const { access_token: weak } = await signInForTokens(testServer.baseUrl, ended);
      assert.equal((await call(weak, "delete_everything")).status, 401);
      const callback = `${testServer.baseUrl}/auth/callback`;
      const browser = new Browser({
        stopAt: ({ href }) => [callback, REDIRECT_URI].some((stop) => href.startsWith(stop)),
      });
      let page = await fillInForms(browser, authorizeUrl(testServer.baseUrl, ended));
      const another = newBrowser();
      await endEntry(
        another,
        await openConnections(testServer.baseUrl, { browser: another }),
        "Ended meanwhile",
      );
      while (page.redirectedTo?.href.startsWith(callback))
        page = await fillInForms(browser, page.redirectedTo);
      assert.equal(page.redirectedTo?.searchParams.get("error"), "access_denied");
      assert.ok(testServer.log.some(({ reason }) => reason === "ended_meanwhile"));
    });

    test("a second sign-in that cannot begin is begun anew by who tries again, and is as fresh as was asked", async (t) => {
      const { access_token: weak } = await signInForTokens(testServer.baseUrl, client);
      assert.equal((await call(weak, "delete_everything")).status, 401);
      const { put } = testServer.records;
      let logins = 0;
      const putting = t.mock.method(
        testServer.records,
        "put",
        async (key: string, ...rest: [string, number]) => {
          if (key.startsWith("login:") && ++logins === 2)
            throw new UnavailableError("storage", { reason: "redis_unavailable" });
          return await put(key, ...rest);
        },
      );
      const browser = newBrowser();
      const page = await fillInForms(browser, authorizeUrl(testServer.baseUrl, client));
      putting.mock.restore();
      assert.equal(page.status, 503);
      const again = findLink(page.body, "Try again") ?? "";
      const { redirectedTo } = await fillInForms(browser, new URL(again, page.url));
      const tokens = await redeem(testServer.baseUrl, client, redirectedTo?.searchParams.get("code") ?? null);
      const done = await call(tokens.body.access_token, "delete_everything");
      assert.equal(done.body.result.content[0].text, "deleted");
    });

    test("another user, and another client of this one, sign in as ever", async () => {
      assert.equal((await call(await signIn(), "delete_everything")).status, 401);
      const bob = await signInForTokens(testServer.baseUrl, client, { login: "bob" });
      assert.deepEqual(await how(bob.access_token), {});
      const another = await register(testServer.baseUrl);
      const tokens = await signInForTokens(testServer.baseUrl, another);
      assert.deepEqual(await how(tokens.access_token), {});
    });
  });

  describe("at /authorize", () => {
    test("what is no number of seconds or no list of values is invalid_request", async () => {
      const bad = [
        ["max_age", "-1"],
        ["max_age", "1e3"],
        ["max_age", "soon"],
        ["max_age", "9999999999"],
        ["acr_values", 'a"b'],
        ["acr_values", Array.from({ length: 17 }, (_, index) => `a${index}`).join(" ")],
        ["acr_values", "a".repeat(1_025)],
      ] as const;
      for (const [name, value] of bad) {
        const url = authorizeUrl(testServer.baseUrl, client, { [name]: value });
        const { redirectedTo } = await newBrowser().get(url);
        const said = redirectedTo?.searchParams;
        assert.equal(said?.get("error"), "invalid_request", `${name}=${value}`);
        assert.match(said?.get("error_description") ?? "", new RegExp(`The parameter ${name} `));
      }
    });

    test("a session at the provider and remembered consent skip nothing", async () => {
      const browser = newBrowser();
      await rememberConsent(browser, authorizeUrl(testServer.baseUrl, client));
      signedInAgo = 0;
      const silent = await browser.get(authorizeUrl(testServer.baseUrl, client));
      assert.ok(silent.redirectedTo?.searchParams.has("code"), "nothing is asked otherwise");
      const page = await browser.get(authorizeUrl(testServer.baseUrl, client, { acr_values: SECOND_FACTOR }));
      assert.equal(askedBy(page), "login");
      const back = await browser.submit(page, { login: "alice" });
      const code = back.redirectedTo?.searchParams.get("code") ?? null;
      const { body } = await redeem(testServer.baseUrl, client, code);
      assert.equal((await how(body.access_token)).acr, SECOND_FACTOR);
    });

    test("another user who signs in instead is asked for consent, and for as much", async () => {
      const browser = newBrowser();
      await rememberConsent(browser, authorizeUrl(testServer.baseUrl, client));
      const asked = { acr_values: SECOND_FACTOR, max_age: "300" };
      const page = await browser.get(authorizeUrl(testServer.baseUrl, client, asked));
      assert.equal(askedBy(page), "login");
      const consent = await browser.submit(page, { login: "bob" });
      assert.equal(askedBy(consent), "consent");
      assert.equal(consent.url.searchParams.get("max_age"), "300");
      assert.equal(consent.url.searchParams.get("acr_values"), SECOND_FACTOR);
      const back = await browser.submit(consent, {}, { button: "approve" });
      const code = back.redirectedTo?.searchParams.get("code") ?? null;
      const { body } = await redeem(testServer.baseUrl, client, code);
      assert.equal((await call(body.access_token, "delete_everything")).status, 200);
    });
  });

  describe("a provider whose sign-in does not do", () => {
    test("an old auth_time is refused with a page, and the client hears why", async (t) => {
      signedInAgo = HOUR;
      t.after(() => {
        signedInAgo = 0;
      });
      const page = await stuckAt(testServer, client, { max_age: "300" });
      assert.equal(page.status, 403);
      assert.match(titleOf(page.body), /You have to sign in anew/);
      assert.match(textOf(page.body), /did not ask you again/);
      assert.match(page.body, /error=unmet_authentication_requirements/);
    });

    test("one in the future is none", async (t) => {
      signedInAgo = -HOUR;
      t.after(() => {
        signedInAgo = 0;
      });
      assert.match(titleOf((await stuckAt(testServer, client, { max_age: "300" })).body), /sign in anew/);
    });

    test("another acr than the ones asked for is refused with a page", async () => {
      const page = await stuckAt(testServer, client, { acr_values: "urn:example:hardware-key" });
      assert.match(titleOf(page.body), /A stronger sign-in is needed/);
      const refusals = testServer.log.filter(({ reason }) => reason === "authentication_too_weak");
      assert.ok(refusals.some(({ audit, decision }) => audit === "sign_in" && decision === "deny"));
    });
  });
});

describe("a provider that ignores max_age and acr_values", () => {
  const testServer = useTestServer({ ...options, behaviour: { stepUp: "ignored" } });

  test("is not believed: no grant comes of it", async () => {
    const client = await register(testServer.baseUrl);
    for (const parameters of [{ max_age: "300" }, { acr_values: SECOND_FACTOR }]) {
      const page = await stuckAt(testServer, client, parameters);
      assert.equal(page.status, 403);
      assert.match(page.body, /error=unmet_authentication_requirements/);
    }
  });

  test("stops one sign-in after a challenge, with a page; the next one is for the other tools", async () => {
    const client = await register(testServer.baseUrl);
    const { access_token: token } = await signInForTokens(testServer.baseUrl, client);
    assert.equal((await callTool(testServer.url, token, "delete_everything")).status, 401);
    assert.match(titleOf((await stuckAt(testServer, client, {})).body), /You have to sign in anew/);
    const again = await signInForTokens(testServer.baseUrl, client);
    assert.equal((await callTool(testServer.url, again.access_token, "how")).status, 200);
  });
});

describe("what the operator has every sign-in ask for", () => {
  const testServer = useTestServer({
    ...options,
    environment: { OIDC_AUTHORIZATION_PARAMETERS: `max_age=120&acr_values=${SECOND_FACTOR}` },
  });

  test("is not weakened by a client", async () => {
    const client = await register(testServer.baseUrl);
    const askedFor = async (parameters: Record<string, string>) => {
      const browser = newBrowser();
      await fillInForms(browser, authorizeUrl(testServer.baseUrl, client, parameters));
      const asked = browser.history.find(({ url }) => new URL(url).pathname === "/auth");
      const { searchParams } = new URL(asked?.url ?? "");
      return [searchParams.get("max_age"), searchParams.get("acr_values")];
    };
    assert.deepEqual(await askedFor({}), ["120", SECOND_FACTOR]);
    assert.deepEqual(await askedFor({ max_age: "3600", acr_values: "weak" }), ["120", SECOND_FACTOR]);
    assert.deepEqual(await askedFor({ max_age: "60" }), ["60", SECOND_FACTOR]);
  });
});

describe("a provider that takes pushed authorization requests only", () => {
  const testServer = useTestServer({ ...options, behaviour: { pushedRequests: "of all" } });

  test("is asked the same there", async () => {
    const client = await register(testServer.baseUrl);
    const parameters = { max_age: "300", acr_values: SECOND_FACTOR };
    const { access_token: token } = await signInForTokens(testServer.baseUrl, client, { parameters });
    assert.equal((await callTool(testServer.url, token, "delete_everything")).status, 200);
    const { body } = await callTool(testServer.url, token, "how");
    assert.equal(JSON.parse(body.result.content[0].text).acr, SECOND_FACTOR);
  });
});

/** The page that the sign-in ends on. */
function stuckAt({ baseUrl }: TestServer, client: Registered, parameters: Record<string, string>) {
  return fillInForms(newBrowser(), authorizeUrl(baseUrl, client, parameters));
}

async function rememberConsent(browser: Browser, url: string): Promise<void> {
  const page = await browser.get(url);
  const login = await browser.submit(page, { remember: "yes" }, { button: "approve" });
  await browser.submit(login, { login: "alice" });
}

/** The parameters of a challenge (RFC 6750 §3). */
function challengeOf({ headers }: { headers: Headers }): Record<string, string | undefined> {
  const challenge = headers.get("www-authenticate") ?? "";
  return Object.fromEntries(
    [...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]),
  );
}
