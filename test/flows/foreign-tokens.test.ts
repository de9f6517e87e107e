/** Access tokens that another issuer gave out, presented to the MCP endpoint: by people, and by programs for themselves. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createPolicy, DEFAULT_CLAIMS } from "../../src/access/policy.ts";
import { parsePolicy } from "../../src/access/policy-file.ts";
import type { AccessTokenIssuer } from "../../src/issuers/trusted-issuer.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../src/oauth/jwt.ts";
import {
  currentCaller,
  getAccessToken,
  getUpstreamAccessToken,
} from "../../src/resource/access-token-context.ts";
import { eventually } from "../support/eventually.ts";
import { callTool, postForm, register, rpc, signInForTokens, toolNames } from "../support/oauth-client.ts";
import { replaceablePolicy } from "../support/replaceable-policy.ts";
import { useTestServer } from "../support/test-server.ts";
import { type Claims, lookUpClient, startTokenIssuer, type TokenIssuer } from "../support/token-issuer.ts";

const SECRET = "the-secret-of-a-machine-0123456789abcdef";
const CLIENTS = JSON.stringify([
  { client_id: "nightly", client_secret: SECRET, grant_types: ["client_credentials"], scope: "weather:read" },
]);
const EVERYBODY = createPolicy({ default: "allow", claims: DEFAULT_CLAIMS, rules: [] });

function policyOf(yaml: string) {
  return createPolicy(
    parsePolicy(yaml, "policy.yaml", {
      scopes: ["weather:read"],
      tools: ["whoami", "wait"],
      resources: [],
      prompts: [],
    }),
  );
}

const observe = defineTool({
  name: "observe",
  description: "Says who is calling",
  run: () => JSON.stringify({ token: getAccessToken(), sessionKey: currentCaller("test").sessionKey }),
});
const upstream = defineTool({
  name: "upstream",
  description: "Asks for the caller's token at the identity provider",
  run: () => getUpstreamAccessToken(),
});
const erase = defineTool({
  name: "erase",
  description: "Needs a fresh and strong sign-in",
  authentication: { maxAgeSeconds: 300, acr: ["mfa", "key"] },
  run() {
    const { authTime, acr } = getAccessToken();
    return JSON.stringify({ authTime, acr });
  },
});
/** How often it was begun. */
let waits = 0;
const wait = defineTool({
  name: "wait",
  description: "Waits until it is stopped",
  run(_input, { signal }) {
    waits++;
    return new Promise<string>((resolve) => signal.addEventListener("abort", () => resolve("stopped")));
  },
});

describe("a token of another issuer", () => {
  let keycloak: TokenIssuer;
  let auth0: TokenIssuer;
  const rules = replaceablePolicy(EVERYBODY);
  const testServer = useTestServer(async () => {
    const now = () => Math.floor(Date.now() / 1000) + (testServer.clock?.ahead ?? 0);
    const untilTheEnd = { after: (close: () => void) => void closing.push(close) };
    keycloak = await startTokenIssuer(untilTheEnd, now);
    auth0 = await startTokenIssuer(untilTheEnd, now);
    return {
      tools: [observe, upstream, erase, wait],
      policy: rules.policy,
      environment: { CLIENTS },
      scopes: { "weather:write": { description: "Change the weather", includes: ["weather:read"] } },
      adjust: (config) => ({
        ...config,
        issuers: [
          trusted(keycloak, {
            introspection: { client: lookUpClient() },
            scopes: new Map([
              ["weather", ["weather:read"]],
              ["admin", ["weather:write"]],
            ]),
          }),
          trusted(auth0, { scopeClaims: ["permissions"], types: ["jwt"] }),
        ],
      }),
    };
  });
  const closing: Array<() => void> = [];
  test.after(() => {
    for (const close of closing) close();
  });

  function trusted({ issuer }: TokenIssuer, changes: Partial<AccessTokenIssuer> = {}): AccessTokenIssuer {
    return {
      accept: "access-token",
      issuer,
      algorithms: ASYMMETRIC_ALGORITHMS,
      timeoutSeconds: 2,
      types: ["at+jwt"],
      scopeClaims: ["scope"],
      scopes: new Map([["weather", ["weather:read"]]]),
      ...changes,
    };
  }
  const ofUser = (claims: Claims = {}) =>
    keycloak.sign(
      { sub: "alice", client_id: "app", scope: "weather", aud: testServer.url, ...claims },
      { typ: "at+jwt" },
    );
  const ofMachine = (id: string, claims: Claims = {}) =>
    auth0.sign({ sub: `${id}@clients`, azp: id, permissions: ["weather"], aud: testServer.url, ...claims });

  async function observed(accessToken: string) {
    const { status, body } = await callTool(testServer.url, accessToken, "observe");
    assert.equal(status, 200, JSON.stringify(body));
    return JSON.parse(body.result.content[0].text);
  }

  test("of a person says who it is, through which client, and what they may do", async () => {
    const token = await ofUser({ email: "alice@example.com" });
    const { claims, expiresAt, ...rest } = (await observed(token)).token;
    assert.deepEqual(rest, {
      subject: "alice",
      kind: "user",
      issuer: keycloak.issuer,
      clientId: `${keycloak.issuer}#app`,
      scopes: ["weather:read"],
      notGiven: [],
      resource: testServer.url,
    });
    assert.equal(claims.email, "alice@example.com");
    assert.ok(expiresAt > Date.now() / 1000);
    assert.equal((await callTool(testServer.url, token, "current_weather", { city: "Berlin" })).status, 200);
  });

  test("of a machine is its client's, and never one of this server's clients", async () => {
    const theirs = await observed(await ofMachine("nightly"));
    const own = await postForm(
      `${testServer.baseUrl}/token`,
      { grant_type: "client_credentials" },
      { authorization: `Basic ${btoa(`nightly:${SECRET}`)}` },
    );
    const ours = await observed(own.body.access_token);
    assert.deepEqual(
      [ours.token.kind, ours.token.issuer, ours.token.subject, ours.token.clientId],
      ["client", undefined, "nightly", "nightly"],
    );
    const name = `${auth0.issuer}#nightly`;
    assert.deepEqual(
      [theirs.token.kind, theirs.token.issuer, theirs.token.subject, theirs.token.clientId],
      ["client", auth0.issuer, name, name],
    );
    rules.inForce = policyOf("rules: [{ name: ours, for: { clients: [nightly] }, deny: everything }]");
    try {
      assert.equal((await callTool(testServer.url, own.body.access_token, "observe")).status, 401);
      await observed(await ofMachine("nightly"));
    } finally {
      rules.inForce = EVERYBODY;
    }
  });

  test("of the same subject at two issuers, and here, is three people in three sessions", async () => {
    const client = await register(testServer.baseUrl);
    const tokens = [
      (await signInForTokens(testServer.baseUrl, client)).access_token,
      await ofUser(),
      await auth0.sign({ sub: "alice", azp: "app", aud: testServer.url }),
    ];
    const seen = await Promise.all(tokens.map(observed));
    assert.deepEqual(new Set(seen.map(({ token }) => token.subject)), new Set(["alice"]));
    assert.equal(new Set(seen.map(({ token }) => token.issuer)).size, 3);
    assert.equal(new Set(seen.map(({ sessionKey }) => sessionKey)).size, 3);
  });

  test("belongs to one session of its principal and client, whichever token it is", async () => {
    const keys = await Promise.all(
      [await ofUser(), await ofUser(), await ofUser({ client_id: "other" })].map(
        async (token) => (await observed(token)).sessionKey,
      ),
    );
    assert.equal(keys[0], keys[1]);
    assert.notEqual(keys[0], keys[2]);
  });

  test("has the scopes of the map and what they include, and no others", async () => {
    const { token } = await observed(await ofUser({ scope: "admin weather:write everything" }));
    assert.deepEqual([...token.scopes].sort(), ["weather:read", "weather:write"]);
    const { token: none } = await observed(await ofUser({ scope: "weather:read" }));
    assert.deepEqual(none.scopes, []);
  });

  test("without a scope sees fewer tools, and is told which scope a call needs", async () => {
    const token = await ofUser({ scope: "nothing" });
    assert.equal((await toolNames(testServer.url, token)).includes("current_weather"), false);
    const { status, headers } = await callTool(testServer.url, token, "current_weather", { city: "Berlin" });
    assert.equal(status, 403);
    const challenge = String(headers.get("www-authenticate"));
    assert.match(challenge, /error="insufficient_scope".*scope="weather:read"/);
    assert.match(challenge, /resource_metadata="[^"]*\/\.well-known\/oauth-protected-resource\/mcp"/);
  });

  test("that is opaque is looked up at its issuer", async () => {
    const exp = Math.floor(Date.now() / 1000) + 300;
    keycloak.introspected.set("opaque-token", {
      active: true,
      sub: "bob",
      aud: testServer.url,
      exp,
      scope: "weather",
    });
    const { token } = await observed("opaque-token");
    assert.deepEqual(
      [token.subject, token.issuer, token.clientId, token.scopes],
      ["bob", keycloak.issuer, `${keycloak.issuer}#`, ["weather:read"]],
    );
  });

  test("says when and how its user signed in (RFC 9068 §2.2.1), which is measured as for anybody", async () => {
    const authTime = Math.floor(Date.now() / 1000) - 100;
    const { body } = await callTool(
      testServer.url,
      await ofUser({ auth_time: authTime, acr: "key" }),
      "erase",
    );
    assert.deepEqual(JSON.parse(body.result.content[0].text), { authTime, acr: "key" });
    for (const claims of [
      { acr: "key" },
      { auth_time: authTime - 400, acr: "key" },
      { auth_time: authTime },
      { auth_time: authTime, acr: "password" },
      { auth_time: String(authTime), acr: "key" },
    ]) {
      const { status, headers } = await callTool(testServer.url, await ofUser(claims), "erase");
      assert.equal(status, 401, JSON.stringify(claims));
      assert.match(
        headers.get("www-authenticate") ?? "",
        /error="insufficient_user_authentication".*max_age="300", acr_values="mfa key"/,
      );
    }
  });

  test("of a machine has no user's sign-in, whatever it says: an error, and no challenge", async () => {
    const authTime = Math.floor(Date.now() / 1000);
    const token = await ofMachine("robot", { auth_time: authTime, acr: "key" });
    const { body: own } = await postForm(`${testServer.baseUrl}/token`, {
      grant_type: "client_credentials",
      client_id: "nightly",
      client_secret: SECRET,
    });
    for (const machines of [token, own.access_token]) {
      const { status, body } = await callTool(testServer.url, machines, "erase");
      assert.equal(status, 200);
      assert.equal(body.result.isError, true);
      assert.match(
        body.result.content[0].text,
        /needs a user who signed in, and this client acts without one/,
      );
      assert.ok(
        testServer.log.some(
          ({ audit, reason }) => audit === "tool_call" && reason === "no_user_authentication",
        ),
      );
    }
  });

  test("has no token at the identity provider to call an API with, and the tool is told why", async () => {
    const { body } = await callTool(testServer.url, await ofUser(), "upstream");
    assert.match(JSON.stringify(body), /This needs a user who signed in at the identity provider/);
  });

  test("is in the log and the audit log by its principal, of which issuer and kind", async () => {
    await callTool(testServer.url, await ofMachine("auditor"), "whoami");
    const name = `${auth0.issuer}#auditor`;
    const lines = await eventually("both are there", () => {
      const found = testServer.log.filter(({ subject }) => subject === name);
      return found.length === 2 ? found : undefined;
    });
    for (const { principalKind, issuer, clientId } of lines ?? [])
      assert.deepEqual([principalKind, issuer, clientId], ["client", auth0.issuer, name]);
  });

  test("obeys the policy from one call to the next, and is in the audit log by whom it refuses", async () => {
    const token = await ofUser();
    assert.ok((await toolNames(testServer.url, token)).includes("current_weather"));
    try {
      rules.inForce = policyOf("rules: [{ name: dry, deny: { scopes: [weather:read] } }]");
      assert.deepEqual((await observed(token)).token.scopes, []);
      rules.inForce = policyOf(
        `rules: [{ name: none of theirs, for: { clients: ["${keycloak.issuer}#*"] }, deny: everything }]`,
      );
      assert.equal((await rpc(testServer.url, token, "ping")).status, 401);
      const line = await eventually("the audit log has it", () =>
        testServer.log.find(({ audit, rule }) => audit === "access_refused" && rule === "none of theirs"),
      );
      assert.deepEqual(
        [line?.reason, line?.subject, line?.principalKind, line?.issuer, line?.clientId, line?.grantId],
        ["denied_by_policy", "alice", "user", keycloak.issuer, `${keycloak.issuer}#app`, undefined],
      );
    } finally {
      rules.inForce = EVERYBODY;
    }
    await observed(token);
  });

  describe("in a running call", () => {
    const stopped = async (token: string, then: () => void) => {
      const before = waits;
      const calling = callTool(testServer.url, token, "wait");
      await eventually("it runs", () => waits > before);
      then();
      return JSON.stringify((await calling).body);
    };

    test("that ends meanwhile stops it", async () => {
      // Clocks may differ by half a minute: it counts for ten seconds more.
      const token = await ofUser({ exp: Math.floor(Date.now() / 1000) - 20 });
      assert.match(await stopped(token, () => {}), /was made with has expired/);
    });

    test("that the policy refuses meanwhile stops it", async () => {
      const token = await ofUser();
      const denied = policyOf("rules: [{ name: no alice, for: { users: [alice] }, deny: everything }]");
      const answer = await stopped(token, () => {
        rules.inForce = denied;
      });
      rules.inForce = EVERYBODY;
      assert.match(answer, /is not open to you any more/);
    });
  });
});
