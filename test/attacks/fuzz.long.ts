/**
 * Property-based fuzzing of everything a stranger can reach, and of /mcp with a token: whatever comes, no 5xx, and no
 * redirect to a place that was not validated. FUZZ_RUNS scales it (1 = the 16,000 requests of a normal run).
 */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { matchRedirectUri, redirectUriProblem } from "../../src/oauth/redirect-uri.ts";
import {
  authorizeUrl,
  callTool,
  newBrowser,
  REDIRECT_URI,
  type Registered,
  refresh,
  register,
  signInForTokens,
  type Tokens,
} from "../support/oauth-client.ts";
import { fc } from "../support/property.ts";
import { useTestServer } from "../support/test-server.ts";

const SCALE = Number(process.env.FUZZ_RUNS ?? 1);
const runs = (count: number) => ({
  numRuns: Math.ceil(count * SCALE),
  endOnFailure: true,
  includeErrorInReport: true,
});

/** Text as attackers write it: from plain to binary, with the characters that parsers disagree about. */
const nasty = fc.oneof(
  fc.string({ unit: "binary", maxLength: 60 }),
  fc.string({ unit: fc.constantFrom(..."/\\@:?#%&=.*<>\"'\0\r\n\t 0aé".split("")), maxLength: 40 }),
  fc.constantFrom(
    "",
    "__proto__",
    "constructor",
    "[]",
    "null",
    "javascript:alert(1)",
    "//evil.example",
    "%2e%2e%2f",
  ),
  fc.integer({ min: 1, max: 6_000 }).map((length) => "x".repeat(length)),
);

describe("fuzz", () => {
  let client: Registered;
  let form: string;
  let cookie: string;
  let tokens: Tokens;
  const testServer = useTestServer({
    environment: {
      REGISTRATIONS_PER_ADDRESS_PER_HOUR: "1000000",
      REGISTRATIONS_PER_HOUR: "1000000",
      SIGN_INS_PER_ADDRESS_PER_HOUR: "1000000",
      TOKEN_REQUESTS_PER_ADDRESS_PER_MINUTE: "1000000",
      REFRESH_GRACE_SECONDS: "600", // longer than this takes on a busy machine
      LOG_LEVEL: "silent",
    },
  });
  before(async () => {
    client = await register(testServer.baseUrl, {
      redirect_uris: [REDIRECT_URI, "https://client.example/cb"],
    });
    const browser = newBrowser();
    const page = await browser.get(authorizeUrl(testServer.baseUrl, client));
    form = /name="request" value="([^"]+)"/.exec(page.body)?.[1] ?? "";
    cookie = browser.cookieHeader(testServer.baseUrl);
    tokens = await signInForTokens(testServer.baseUrl, client);
  });

  async function sendRequest(path: string, init: RequestInit = {}): Promise<Response> {
    const response = await fetch(testServer.baseUrl + path, { redirect: "manual", ...init });
    await response.arrayBuffer();
    assert.ok(response.status < 500, `${response.status} for ${path.slice(0, 300)}`);
    const location = response.headers.get("location");
    if (location !== null)
      assert.ok(
        [
          `${REDIRECT_URI}?`,
          "https://client.example/cb?",
          `${testServer.baseUrl}/authorize?`,
          testServer.identityProvider.issuer,
        ].some((start) => location.startsWith(start)),
        `redirected to ${location}`,
      );
    return response;
  }

  /** Mostly right, so that the deeper checks are reached: some parameters replaced, doubled or dropped. */
  const mutations = (names: readonly string[]) =>
    fc.array(fc.tuple(fc.constantFrom(...names), fc.constantFrom("set", "append", "delete"), nasty), {
      maxLength: 3,
    });

  function mutate(query: URLSearchParams, changes: ReadonlyArray<readonly [string, string, string]>): void {
    for (const [name, how, value] of changes) {
      if (how === "set") query.set(name, value);
      else if (how === "append") query.append(name, value);
      else query.delete(name);
    }
  }

  const AUTHORIZE = [
    ..."client_id redirect_uri response_type response_mode scope state code_challenge code_challenge_method".split(
      " ",
    ),
    ..."resource prompt request request_uri __proto__ constructor".split(" "),
  ];

  test("/authorize", () =>
    fc.assert(
      fc.asyncProperty(mutations(AUTHORIZE), fc.boolean(), async (changes, byPost) => {
        const { search } = new URL(authorizeUrl(testServer.baseUrl, client));
        const query = new URLSearchParams(search);
        mutate(query, changes);
        await (byPost
          ? sendRequest("/authorize", { method: "POST", body: query })
          : sendRequest(`/authorize?${query}`));
      }),
      runs(3_000),
    ));

  test("/authorize with a query that nobody would write", () =>
    fc.assert(
      fc.asyncProperty(
        nasty,
        async (text) => void (await sendRequest(`/authorize?${encodeURI(Buffer.from(text).toString())}`)),
      ),
      runs(500),
    ));

  test("/consent", () =>
    fc.assert(
      fc.asyncProperty(
        mutations(["request", "decision", "scope", "remember"]),
        fc.boolean(),
        async (changes, asBrowser) => {
          const body = new URLSearchParams({ request: form, decision: "approve", scope: "weather:read" });
          mutate(body, changes);
          const headers = { accept: "text/html", ...(asBrowser && { cookie }) };
          const response = await sendRequest("/consent", { method: "POST", body, headers });
          if (!asBrowser)
            assert.equal(response.headers.get("location"), null, "nothing happens without the cookie");
        },
      ),
      runs(2_500),
    ));

  test("/auth/callback", () =>
    fc.assert(
      fc.asyncProperty(mutations(["state", "code", "iss", "error", "error_description"]), async (changes) => {
        const query = new URLSearchParams({
          state: "s".repeat(43),
          code: "c",
          iss: testServer.identityProvider.issuer,
        });
        mutate(query, changes);
        const response = await sendRequest(`/auth/callback?${query}`, { headers: { cookie } });
        assert.ok(response.status >= 400, "no made-up state finishes a login");
      }),
      runs(2_000),
    ));

  const anyJson = fc.oneof(fc.jsonValue({ maxDepth: 2 }), nasty, fc.array(nasty, { maxLength: 4 }));
  const METADATA = [
    ..."redirect_uris client_name client_uri logo_uri scope grant_types response_types".split(" "),
    ..."token_endpoint_auth_method application_type jwks jwks_uri contacts __proto__".split(" "),
  ];

  test("/register", () =>
    fc.assert(
      fc.asyncProperty(fc.dictionary(fc.constantFrom(...METADATA), anyJson), async (changes) => {
        const body = JSON.stringify({
          redirect_uris: [REDIRECT_URI],
          token_endpoint_auth_method: "none",
          ...changes,
        });
        const headers = { "content-type": "application/json" };
        await sendRequest("/register", { method: "POST", headers, body });
      }),
      runs(2_000),
    ));

  const BACK_CHANNEL = [
    ..."grant_type client_id client_secret code code_verifier redirect_uri refresh_token scope resource".split(
      " ",
    ),
    ..."token token_type_hint client_assertion client_assertion_type logout_token __proto__".split(" "),
  ];

  test("/token, /revoke, /introspect and /auth/backchannel-logout", () =>
    fc.assert(
      fc.asyncProperty(
        fc.constantFrom("/token", "/revoke", "/introspect", "/auth/backchannel-logout"),
        fc.constantFrom("authorization_code", "refresh_token"),
        mutations(BACK_CHANNEL),
        fc.option(nasty),
        async (path, grant_type, changes, authorization) => {
          const body = new URLSearchParams({
            ...{
              grant_type,
              client_id: client.client_id,
              code: `mcp_ac_${"A".repeat(65)}`,
              redirect_uri: REDIRECT_URI,
            },
            ...{
              code_verifier: "v".repeat(43),
              refresh_token: tokens.refresh_token,
              token: `mcp_at_${"A".repeat(65)}`,
            },
          });
          if (grant_type === "refresh_token") body.set("scope", "nobody:has-this"); // or it would be spent
          mutate(body, changes);
          const basic =
            authorization === null ? {} : { authorization: `Basic ${btoa(encodeURI(authorization))}` };
          await sendRequest(path, { method: "POST", body, headers: basic });
        },
      ),
      runs(3_000),
    ));

  const message = fc.record(
    {
      jsonrpc: fc.oneof(fc.constant("2.0"), anyJson),
      id: fc.oneof(fc.integer(), anyJson),
      method: fc.oneof(
        fc.constantFrom(
          "tools/call",
          "tools/list",
          "initialize",
          "ping",
          "server/discover",
          "resources/read",
        ),
        anyJson,
      ),
      params: fc.oneof(
        fc.record(
          {
            name: fc.oneof(fc.constantFrom("whoami", "say_hello", "current_weather"), anyJson),
            arguments: fc.oneof(
              fc.dictionary(fc.constantFrom("name", "city", "__proto__"), anyJson),
              anyJson,
            ),
            _meta: fc.oneof(
              fc.dictionary(
                fc.constantFrom(
                  "progressToken",
                  ...["protocolVersion", "clientCapabilities"].map((key) => `io.modelcontextprotocol/${key}`),
                ),
                fc.oneof(fc.constantFrom("2026-07-28", "2025-11-25"), anyJson),
              ),
              anyJson,
            ),
          },
          { requiredKeys: [] },
        ),
        anyJson,
      ),
    },
    { requiredKeys: [] },
  );

  test("/mcp with a token", () =>
    fc.assert(
      fc.asyncProperty(
        fc.oneof(message, fc.array(message, { maxLength: 3 }), anyJson),
        fc.option(fc.constantFrom("2025-06-18", "2025-11-25", "2026-07-28", "1999-01-01")),
        fc.option(fc.constantFrom("tools/call", "tools/list", "server/discover")),
        fc.constantFrom("application/json, text/event-stream", "application/json", "*/*", ""),
        async (body, version, method, accept) => {
          const headers = {
            authorization: `Bearer ${tokens.access_token}`,
            ...{ "content-type": "application/json", accept },
            ...(version !== null && { "mcp-protocol-version": version }),
            ...(method !== null && { "mcp-method": method }),
          };
          await sendRequest("/mcp", { method: "POST", headers, body: JSON.stringify(body) });
        },
      ),
      runs(3_000),
    ));

  test("after all this, the session is as good as before", async () => {
    assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 200);
    const refreshed = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    assert.equal(refreshed.status, 200, JSON.stringify(refreshed.body));
  });
});

describe("fuzz of redirect URIs", () => {
  const scheme = fc.constantFrom("https:", "http:", "HTTPS:", "javascript:", "cursor:", "data:", "", "//");
  const host = fc.constantFrom(
    "client.example",
    "evil.example",
    "localhost",
    "127.0.0.1",
    "[::1]",
    "localhost.evil.example",
    "good@evil.example",
  );
  const uri = fc.oneof(
    nasty,
    fc.tuple(scheme, fc.constantFrom("//", "/", "\\\\", ""), host, nasty).map((parts) => parts.join("")),
    fc
      .tuple(fc.constantFrom("https://client.example/cb", "http://localhost:1/cb"), nasty)
      .map((parts) => parts.join("")),
  );
  const registered = ["https://client.example/cb", "http://localhost:1/cb", "http://[::1]/cb"];

  test("what is matched is a registered one, but for the port of this computer", () =>
    fc.assert(
      fc.property(uri, (requested) => {
        const match = matchRedirectUri(registered, requested, redirectUriProblem);
        if (match === undefined) return;
        assert.equal(match, requested);
        const { protocol, hostname, pathname, search, hash, username } = new URL(match);
        const parts = `${protocol}//${hostname}${pathname}${search}${hash}${username}`;
        assert.ok(
          ["https://client.example/cb", "http://localhost/cb", "http://[::1]/cb"].includes(parts),
          parts,
        );
      }),
      runs(20_000),
    ));

  test("what may be registered can be resolved in one way only", () =>
    fc.assert(
      fc.property(uri, (requested) => {
        if (redirectUriProblem(requested) !== undefined) return;
        const url = new URL(requested);
        assert.equal(url.username + url.password + url.hash, "");
        assert.match(requested, /^[\x21-\x7e]+$/);
        if (url.protocol === "http:") assert.match(url.hostname, /^(localhost|127\.0\.0\.1|\[::1\])$/);
        assert.ok(!["javascript:", "data:", "file:", "vbscript:", "blob:"].includes(url.protocol));
      }),
      runs(20_000),
    ));
});
