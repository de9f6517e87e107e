/** /metrics: what is counted, that nobody can make it grow, and who may read it. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { z } from "zod";
import { Browser } from "../../dev/client/browser.ts";
import { definePrompt } from "../../src/mcp/authoring/define-prompt.ts";
import { defineResource } from "../../src/mcp/authoring/define-resource.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { collectProcessMetrics, createMetrics } from "../../src/telemetry/metrics.ts";
import { eventually } from "../support/eventually.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import {
  authorize,
  authorizeUrl,
  callTool,
  newBrowser,
  postForm,
  redeem,
  refresh,
  register,
  rpc,
  signInForTokens,
} from "../support/oauth-client.ts";
import { signIn } from "../support/sign-in.ts";
import { startTestServer, type TestServer, useTestServer } from "../support/test-server.ts";
import { read, type Scrape, scrape } from "./scrape.ts";

const broken = defineTool({
  name: "broken",
  description: "Fails",
  run() {
    throw new Error("as it must");
  },
});
const order = defineResource({
  name: "order",
  uriTemplate: "orders://{id}",
  description: "An order",
  read: ({ id }) => `Order ${id}`,
});
const reorder = definePrompt({
  name: "reorder",
  description: "Order again",
  args: z.object({ id: z.string() }),
  run: ({ id }) => `Order ${id} again`,
});

describe("/metrics", () => {
  let proxy: FaultyProxy;
  const testServer = useTestServer(async () => {
    proxy = await startFaultyProxy();
    return {
      throughProxy: proxy,
      tools: [broken],
      resources: [order],
      prompts: [reorder],
    };
  });
  after(() => proxy.close());

  /** How much a counter grew while `work` ran. */
  async function during(work: () => Promise<unknown>) {
    const before = await scrape(testServer.baseUrl);
    await work();
    const after = await scrape(testServer.baseUrl);
    return (name: string, labels: Record<string, string> = {}) =>
      after.sum(name, labels) - before.sum(name, labels);
  }

  test("a sign-in, step by step, and what it got", async () => {
    const grew = await during(async () => {
      const client = await register(testServer.baseUrl);
      await signInForTokens(testServer.baseUrl, client);
    });
    for (const step of ["authorize", "consent", "login", "code", "token"]) {
      assert.equal(grew("mcp_sign_in_steps_total", { step }), 1, step);
      assert.equal(grew("mcp_sign_in_steps_total", { step, outcome: "ok", reason: "" }), 1, step);
    }
    assert.equal(grew("mcp_token_requests_total", { grant_type: "authorization_code", outcome: "ok" }), 1);
    assert.equal(grew("mcp_decisions_total", { event: "client_registered", decision: "allow" }), 1);
    const finished = { operation: "finish_login", outcome: "ok" };
    assert.equal(grew("mcp_upstream_seconds_count", finished), 1);
    assert.ok(grew("mcp_upstream_seconds_sum", finished) > 0);
    assert.ok(grew("mcp_store_seconds_count", { operation: "replace", outcome: "ok" }) >= 1);
    assert.equal(
      grew("mcp_http_request_seconds_count", { route: "/token", method: "POST", status: "200" }),
      1,
    );
  });

  test("where sign-ins end that do not get through", async () => {
    const client = await register(testServer.baseUrl);
    const steps = (outcome: string, step: string, reason: string) => ({ outcome, step, reason });
    const name = "mcp_sign_in_steps_total";

    const denied = await during(() => authorize(testServer.baseUrl, client, { approve: false }));
    assert.equal(denied(name, steps("refused", "consent", "user_denied")), 1);
    assert.equal(denied(name, { step: "consent" }), 1);

    const lost = await during(async () => {
      await fetch(`${testServer.baseUrl}/authorize?client_id=nobody`);
      const implicit = authorizeUrl(testServer.baseUrl, client, { response_type: "token" });
      await fetch(implicit, { redirect: "manual" }); // the client is told by a redirect
      await postForm(`${testServer.baseUrl}/consent`, { request: "x", decision: "approve" });
      await fetch(`${testServer.baseUrl}/auth/callback?state=nobodys&code=x`);
    });
    assert.equal(lost(name, steps("refused", "authorize", "unknown_client")), 1);
    assert.equal(lost(name, steps("refused", "authorize", "unsupported_response_type")), 1);
    assert.equal(lost(name, steps("refused", "consent", "consent_form_expired")), 1);
    assert.equal(lost(name, steps("refused", "login", "unknown_state")), 1);

    const outage = await during(async () => {
      proxy.fault = "500";
      await authorize(testServer.baseUrl, client).catch(() => {}); // it ends at our page that says 503
      proxy.fault = undefined;
    });
    assert.equal(outage(name, { step: "login", outcome: "unavailable" }), 1);
    assert.equal(
      outage("mcp_upstream_seconds_count", { operation: "finish_login", outcome: "unavailable" }),
      1,
    );

    const refused = await during(async () => {
      proxy.fault = "invalid_grant";
      await authorize(testServer.baseUrl, client).catch(() => {});
      proxy.fault = undefined;
    });
    assert.equal(refused(name, steps("refused", "login", "upstream_refused")), 1);
    assert.equal(refused("mcp_upstream_seconds_count", { operation: "finish_login", outcome: "refused" }), 1);
  });

  test("/token by grant and result, and sessions that end because of theft", async () => {
    const client = await register(testServer.baseUrl);
    const code = (await authorize(testServer.baseUrl, client, { browser: newBrowser() })).get("code");
    const grew = await during(async () => {
      await redeem(testServer.baseUrl, client, code, { code_verifier: "x".repeat(43) });
      const { body } = await redeem(testServer.baseUrl, client, code);
      await refresh(testServer.baseUrl, client, body.refresh_token);
      testServer.clock.ahead += 600; // beyond the grace
      await refresh(testServer.baseUrl, client, body.refresh_token);
      await postForm(`${testServer.baseUrl}/token`, { grant_type: "made-up", client_id: client.client_id });
      testServer.clock.ahead = 0;
    });
    const name = "mcp_token_requests_total";
    const byCode = { grant_type: "authorization_code" };
    assert.equal(grew(name, { ...byCode, outcome: "refused", reason: "wrong_code_verifier" }), 1);
    assert.equal(grew(name, { ...byCode, outcome: "ok", reason: "" }), 1);
    assert.equal(grew(name, { grant_type: "refresh_token", outcome: "ok" }), 1);
    assert.equal(
      grew(name, { grant_type: "refresh_token", outcome: "refused", reason: "refresh_token_reused" }),
      1,
    );
    assert.equal(grew(name, { grant_type: "other", outcome: "refused" }), 1);
    assert.equal(grew("mcp_grants_ended_total", { reason: "refresh_token_reused" }), 1);
  });

  test("calls by tool, resource and prompt, how they ended and what they took", async () => {
    const alice = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl));
    const bob = await signInForTokens(testServer.baseUrl, await register(testServer.baseUrl), {
      login: "bob",
    });
    const grew = await during(async () => {
      await callTool(testServer.url, alice.access_token, "current_weather", { city: "Berlin" });
      await callTool(testServer.url, bob.access_token, "current_weather", { city: "Berlin" });
      await callTool(testServer.url, alice.access_token, "broken");
      await callTool(testServer.url, alice.access_token, "made-up-tool");
      await rpc(testServer.url, alice.access_token, "resources/read", { uri: "orders://secret-order" });
      await rpc(testServer.url, alice.access_token, "prompts/get", {
        name: "reorder",
        arguments: { id: "1" },
      });
    });
    const [name, tool] = ["mcp_tool_calls_total", "current_weather"];
    assert.equal(grew(name, { kind: "tool", tool, outcome: "ok", principal: "user" }), 1);
    assert.equal(grew(name, { kind: "tool", tool, outcome: "denied", reason: "insufficient_scope" }), 1);
    assert.equal(grew(name, { kind: "tool", tool: "broken", outcome: "error" }), 1);
    assert.equal(grew(name, { kind: "resource", tool: "orders://{id}", outcome: "ok" }), 1);
    assert.equal(grew(name, { kind: "prompt", tool: "reorder", outcome: "ok" }), 1);
    assert.equal(grew(name), 5);
    assert.equal(grew("mcp_tool_call_seconds_count", { kind: "tool", tool }), 1, "only what ran");
    assert.ok(grew("mcp_tool_call_seconds_sum", { kind: "tool", tool }) > 0);
    assert.equal(grew("mcp_tool_call_seconds_count", { kind: "resource", tool: "orders://{id}" }), 1);
    assert.equal(grew("mcp_tool_call_seconds_count", { kind: "prompt", tool: "reorder" }), 1);
    assert.ok(grew("mcp_grant_cache_total") >= 5, "a look-up for each request");
  });

  test("nothing that a client chooses becomes a label", async () => {
    const client = await register(testServer.baseUrl, { client_name: "Chosen-Name" });
    const { access_token } = await signInForTokens(testServer.baseUrl, client);
    await callTool(testServer.url, access_token, "chosen-tool");
    await rpc(testServer.url, access_token, "resources/read", { uri: "orders://chosen-order" });
    await postForm(`${testServer.baseUrl}/token`, { grant_type: "chosen-grant", client_id: "chosen-client" });
    await fetch(`${testServer.baseUrl}/chosen/path?chosen=query`);
    await fetch(`${testServer.baseUrl}/register/chosen-registration`);
    await fetch(`${testServer.baseUrl}/chosen`, { method: "PROPFIND" });
    const found = await scrape(testServer.baseUrl);
    assert.doesNotMatch(found.text, /chosen/i);
    for (const id of [client.client_id, "alice", access_token]) assert.ok(!found.text.includes(id));
    assert.ok(found.values("mcp_http_request_seconds_count", "method").includes("other"));
    const routes = found.values("mcp_http_request_seconds_count", "route");
    assert.ok(routes.includes("other"));
    assert.ok(routes.includes("/register/:clientId"));
  });

  test("metadata has one route a document, not one a place", async () => {
    for (const path of ["", "/mcp"])
      await fetch(`${testServer.baseUrl}/.well-known/oauth-protected-resource${path}`);
    const routes = (await scrape(testServer.baseUrl)).values("mcp_http_request_seconds_count", "route");
    assert.ok(routes.includes("/.well-known/oauth-protected-resource"));
  });

  test("a request that its client gave up is neither a success nor a failure of ours", async () => {
    proxy.fault = "timeout";
    const client = await register(testServer.baseUrl);
    const browser = new Browser({ stopAt: ({ pathname }) => pathname === "/auth/callback" });
    const callback = await signIn(browser, authorizeUrl(testServer.baseUrl, client));
    const grew = await during(async () => {
      const cookie = browser.cookieHeader(callback);
      const leaving = new AbortController();
      const { length } = proxy.seen;
      const answer = fetch(callback, { headers: { cookie }, signal: leaving.signal });
      await eventually("the provider is asked", () => proxy.seen.length > length);
      leaving.abort();
      await assert.rejects(answer, { name: "AbortError" });
      await eventually("the server has noticed", async () =>
        /^mcp_sign_in_steps_total\{step="login",outcome="aborted"[^}]*\} [1-9]/m.test(
          await (await fetch(`${testServer.baseUrl}/metrics`)).text(),
        ),
      );
    });
    proxy.fault = undefined;
    proxy.dropUnanswered();
    assert.equal(grew("mcp_sign_in_steps_total", { step: "login", outcome: "aborted" }), 1);
  });
});

describe("who may read /metrics", () => {
  const PUBLIC = { BASE_URL: "https://mcp.example.com" };
  const METRICS_TOKEN = "0123456789abcdef";
  const statusOf = async (testServer: TestServer, headers: Record<string, string> = {}) =>
    (await fetch(`${testServer.baseUrl}/metrics`, { headers })).status;

  async function on(environment: Record<string, string>, work: (testServer: TestServer) => Promise<void>) {
    const testServer = await startTestServer({ environment });
    try {
      await work(testServer);
    } finally {
      await testServer.close();
    }
  }

  test("a public server without a token has no such page, wherever a request comes from", () =>
    on(PUBLIC, async (testServer) => {
      // A reverse proxy on the same machine looks like this, whatever headers it adds or leaves out.
      assert.equal(await statusOf(testServer), 404);
      assert.equal(await statusOf(testServer, { authorization: "Bearer " }), 404);
      assert.equal(await statusOf(testServer, { "x-forwarded-for": "127.0.0.1" }), 404);
    }));

  for (const [where, environment] of [
    ["a public server", { ...PUBLIC, METRICS_TOKEN }],
    ["a server on localhost", { METRICS_TOKEN }],
  ] as const)
    test(`${where} with a token wants it`, () =>
      on(environment, async (testServer) => {
        assert.equal(await statusOf(testServer), 401);
        for (const wrong of [
          "Bearer wrong",
          `Bearer ${METRICS_TOKEN}x`,
          `Basic ${METRICS_TOKEN}`,
          METRICS_TOKEN,
        ])
          assert.equal(await statusOf(testServer, { authorization: wrong }), 401);
        assert.equal(await statusOf(testServer, { authorization: `Bearer ${METRICS_TOKEN}` }), 200);
      }));

  test("no web page can read it from a browser", () =>
    on({}, async (testServer) => {
      const origin = "https://evil.example";
      const { headers } = await fetch(`${testServer.baseUrl}/metrics`, { headers: { origin } });
      assert.equal(headers.get("access-control-allow-origin"), null);
    }));
});

describe("the metrics of the process", () => {
  test("are there, in a registry of its own", async () => {
    const [one, other] = [createMetrics(), createMetrics()];
    collectProcessMetrics(one);
    const names = async ({ registry }: typeof one): Promise<Scrape> => read(await registry.metrics());
    assert.ok((await names(one)).sum("process_resident_memory_bytes") > 0);
    assert.equal((await names(other)).sum("process_resident_memory_bytes"), 0);
  });
});
