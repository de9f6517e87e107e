/** Attacks on policy, admission and the audit log: to get or keep access against the rules, or to leave no trace. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { pino } from "pino";
import { type LivePolicy, watchPolicy } from "../../src/access/live-policy.ts";
import { createPermissions } from "../../src/access/permissions.ts";
import { createPolicy } from "../../src/access/policy.ts";
import type { Rule } from "../../src/access/rule.ts";
import { openAuditStream } from "../../src/audit/audit.ts";
import { loadConfig } from "../../src/config/config.ts";
import { createOidcProvider } from "../../src/identity/oidc/oidc.ts";
import { defineResource } from "../../src/mcp/authoring/define-resource.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { type ScopeCatalogue, scopeCatalogue } from "../../src/oauth/scope-catalogue.ts";
import { builtProgram } from "../support/built-program.ts";
import {
  authorize,
  callTool,
  postJson,
  type Registered,
  redeem,
  refresh,
  register,
  signInForTokens,
} from "../support/oauth-client.ts";
import { requesterOf } from "../support/requester.ts";
import { ALICE, startTestServer, type TestServer, type TestServerOptions } from "../support/test-server.ts";

const known = {
  scopes: ["weather:read"],
  tools: ["whoami", "say_hello", "current_weather", "launch"],
  resources: ["orders://{id}"],
  prompts: [],
};

const open: Array<{ close(): unknown }> = [];
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each.close();
});

/** A policy file in force. */
function policyFile(text: string): LivePolicy & { write(text: string): Promise<void> } {
  const path = join(mkdtempSync(join(tmpdir(), "policy-")), "policy.yaml");
  writeFileSync(path, text);
  let settled = 0;
  const live = watchPolicy({
    path,
    known,
    hierarchy: scopeCatalogue({}, []),
    intervalMs: 5,
    onChange: () => void settled++,
    onRefused: () => void settled++,
  });
  open.push(live);
  return {
    ...live,
    async write(next) {
      const before = settled;
      writeFileSync(path, next);
      while (settled === before) await delay(2);
    },
  };
}

let ran = 0;
const launch = defineTool({
  name: "launch",
  description: "x",
  run() {
    ran += 1;
    return "launched";
  },
});
const order = defineResource({
  uriTemplate: "orders://{id}",
  name: "order",
  description: "x",
  read() {
    ran += 1;
    return "order";
  },
});

async function start(options: TestServerOptions): Promise<{
  testServer: TestServer;
  client: Registered;
  lines: Array<Record<string, unknown>>;
}> {
  ran = 0;
  const lines: Array<Record<string, unknown>> = [];
  const testServer = await startTestServer({
    tools: [launch],
    resources: [order],
    auditStream: { write: (line) => lines.push(JSON.parse(line)) },
    ...options,
  });
  open.push(testServer);
  return { testServer, client: await register(testServer.baseUrl), lines };
}

describe("attacks on a policy", () => {
  const NO_LAUNCH = `
rules:
  - name: nobody launches
    deny: { tools: [launch], resources: ["orders://{id}"] }`;
  const modern = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": { name: "t", version: "1" },
    "io.modelcontextprotocol/clientCapabilities": {},
  };

  test("what policy denies does not run: in either generation, in a batch, as a task, as a notification", async () => {
    const { testServer, client, lines } = await start({ policy: policyFile(NO_LAUNCH).policy });
    const { access_token: token } = await signInForTokens(testServer.baseUrl, client);
    const message = (method: string, params: object, id: unknown = 1) => ({
      jsonrpc: "2.0",
      id,
      method,
      params,
    });
    const call = message("tools/call", { name: "launch", arguments: {} });
    const bodies: Array<[body: unknown, headers?: Record<string, string>]> = [
      [call],
      [[call, { ...call, id: 2 }]],
      [message("tools/call", { name: "launch", arguments: {}, task: { ttl: 1_000 } })],
      [{ ...call, id: undefined }],
      [
        message("tools/call", { name: "launch", arguments: {}, _meta: modern }),
        { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "launch" },
      ],
      ...["orders://7", "orders://..%2f7"].map((uri): [unknown] => [message("resources/read", { uri })]),
    ];
    for (const [body, headers] of bodies) {
      const answer = await postJson(testServer.url, body, {
        authorization: `Bearer ${token}`,
        accept: "application/json, text/event-stream",
        "mcp-protocol-version": "2025-06-18",
        ...headers,
      });
      assert.ok(answer.status < 300, JSON.stringify(answer.body)); // not 403: it would send the client around in circles
      assert.doesNotMatch(JSON.stringify(answer.body ?? ""), /launched|"order"/);
    }
    assert.equal(ran, 0);
    const denied = lines.filter(({ rule }) => rule === "nobody launches");
    assert.equal(denied.length, bodies.length, "one line each, two for the batch, none for the notification");
    assert.deepEqual([...new Set(denied.map(({ subject }) => subject))], ["alice"]);
  });

  test("while the policy changes, no call that begins after the change runs", async () => {
    const live = policyFile("rules: []");
    const { testServer, client } = await start({ policy: live.policy });
    const { access_token: token } = await signInForTokens(testServer.baseUrl, client);
    for (let round = 0; round < 3; round++) {
      let denied = false;
      const caller = async () => {
        while (!denied) await callTool(testServer.url, token, "launch");
        const before = ran;
        await Promise.all(Array.from({ length: 5 }, () => callTool(testServer.url, token, "launch")));
        assert.equal(ran, before);
      };
      const calling = caller();
      await live.write(NO_LAUNCH);
      denied = true;
      await calling;
      await live.write("rules: []");
    }
  });

  test("whatever includes what: nobody is given a denied scope, and what is missing can be asked for", () => {
    let state = 11;
    const roll = () => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return state / 2 ** 32;
    };
    const requester = requesterOf();
    const membership = { organizations: [], organizationClaim: "org_id", emailDomains: [] };
    for (let round = 0; round < 3_000; round++) {
      const names = "abcdef".slice(0, 2 + Math.floor(roll() * 5)).split("");
      const some = (of: readonly string[] = names) => of.filter(() => roll() < 0.4);
      const catalogue: ScopeCatalogue = scopeCatalogue(
        Object.fromEntries(
          names.map((name, i) => [name, { description: name, includes: some(names.slice(i + 1)) }]),
        ),
        [],
      );
      const rules = Array.from(
        { length: Math.floor(roll() * 4) },
        (_, i): Rule => ({
          name: `rule ${i}`,
          effect: roll() < 0.5 ? "allow" : "deny",
          for: {},
          about: { scopes: some().map((text) => ({ text, matches: (scope) => scope === text })) },
        }),
      );
      const claims = { groups: "groups", organization: "org_id" };
      const policy = createPolicy({ default: roll() < 0.5 ? "allow" : "deny", claims, rules }, catalogue);
      const permissions = createPermissions({ policy, catalogue, membership });

      const asked = some();
      const given = catalogue.expand(permissions.permitted(requester, asked));
      for (const scope of catalogue.expand(asked))
        assert.equal(given.includes(scope), policy.scope(requester, scope).allowed, `${scope} of ${asked}`);

      const [first, ...others] = some();
      if (first === undefined) continue;
      const feature = { kind: "tool" as const, name: "t", scopes: [[first, ...others] as const] };
      const decision = permissions.permissionSet(requester, given).checkFeature(feature as never);
      if (decision.allowed) assert.ok([first, ...others].some((scope) => given.includes(scope)));
      if (!decision.allowed && decision.because === "scopes") {
        const more = catalogue.expand(permissions.permitted(requester, [...given, ...decision.missing]));
        assert.ok(
          permissions.permissionSet(requester, more).checkFeature(feature as never).allowed,
          "asked around in circles",
        );
      }
    }
  });
});

describe("who lost what let them in", () => {
  const STAFF = `
default: deny
rules:
  - name: staff
    for: { groups: [staff] }
    allow: everything`;

  for (const behaviour of [{ claimsInAccessToken: true }, { accessTokens: "opaque" }] as const) {
    const place = "accessTokens" in behaviour ? "userinfo" : "the access token";
    test(`the last group, at a provider that then leaves the claim out of ${place}`, async () => {
      const { testServer, client } = await start({
        policy: policyFile(STAFF).policy,
        behaviour: { ...behaviour, accessTokenSeconds: 300 },
        users: [{ ...ALICE, claims: { groups: ["staff"] } }],
      });
      const tokens = await signInForTokens(testServer.baseUrl, client);
      testServer.identityProvider.changeUser("alice", { claims: {} });
      testServer.clock.ahead += 200;
      assert.equal((await refresh(testServer.baseUrl, client, tokens.refresh_token)).status, 400);
    });

    test(`the organization, likewise in ${place}`, async () => {
      const { testServer, client } = await start({
        environment: { ALLOWED_ORGANIZATIONS: "org_a" },
        behaviour: { ...behaviour, accessTokenSeconds: 300 },
        users: [{ ...ALICE, claims: { org_id: "org_a" } }],
      });
      const tokens = await signInForTokens(testServer.baseUrl, client);
      testServer.identityProvider.changeUser("alice", { claims: {} });
      testServer.clock.ahead += 200;
      assert.equal((await refresh(testServer.baseUrl, client, tokens.refresh_token)).status, 400);
    });
  }
});

/** The smallest provider whose ID tokens name nobody's groups, and whose userinfo can be too busy. */
async function thinProvider() {
  const { publicKey, privateKey } = await generateKeyPair("RS256");
  const busy = { userinfo: false };
  const server = createServer(async (req, res) => {
    const issuer = `http://localhost:${(server.address() as AddressInfo).port}`;
    const json = (body: object) =>
      void res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
    if (req.url?.startsWith("/.well-known/"))
      return json({
        issuer,
        authorization_endpoint: `${issuer}/auth`,
        token_endpoint: `${issuer}/token`,
        userinfo_endpoint: `${issuer}/me`,
        jwks_uri: `${issuer}/jwks`,
        response_types_supported: ["code"],
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: ["RS256"],
      });
    if (req.url === "/jwks")
      return json({ keys: [{ ...(await exportJWK(publicKey)), alg: "RS256", kid: "k" }] });
    if (req.url === "/me")
      return busy.userinfo ? void res.writeHead(429).end() : json({ sub: "carl", groups: ["contractors"] });
    const idToken = await new SignJWT({ sub: "carl", nonce: "nonce" })
      .setProtectedHeader({ alg: "RS256", kid: "k" })
      .setIssuer(issuer)
      .setAudience("proxy")
      .setIssuedAt()
      .setExpirationTime("5m")
      .sign(privateKey);
    json({ access_token: "opaque", token_type: "Bearer", expires_in: 300, id_token: idToken });
  });
  server.listen(0, "localhost");
  await once(server, "listening");
  open.push(server);
  const {
    identityProviders: [upstream],
  } = loadConfig({
    BASE_URL: "http://localhost:9",
    STORE: "memory",
    SECRET_KEY: "test-secret-key-with-more-than-32-bytes-0123456789",
    OIDC_ISSUER: `http://localhost:${(server.address() as AddressInfo).port}`,
    OIDC_CLIENT_ID: "proxy",
    OIDC_CLIENT_SECRET: "proxy-secret",
    SCOPES_FROM: "consent",
  });
  const provider = createOidcProvider(upstream, {
    now: () => Math.floor(Date.now() / 1000),
    randomBytes: (n) => crypto.getRandomValues(Buffer.alloc(n)),
    log: pino({ level: "silent" }),
  });
  const login = () =>
    provider.finishLogin(new URLSearchParams({ code: "c", state: "state" }), {
      redirectUri: "http://localhost:9/auth/callback",
      state: "state",
      nonce: "nonce",
      codeVerifier: "v".repeat(43),
      scopes: [],
    });
  return { busy, login };
}

test("a user whose userinfo is rate-limited does not come in as somebody without groups", async () => {
  const { busy, login } = await thinProvider();
  const { policy } = policyFile(`
rules:
  - name: no contractors
    for: { groups: [contractors] }
    deny: everything`);
  const admitted = async () => {
    const { subject, claims } = await login();
    return policy.admits(requesterOf({ subject, claims })).allowed;
  };
  assert.equal(await admitted(), false);
  busy.userinfo = true; // anybody can have their own requests for userinfo refused, by making too many
  assert.equal(await admitted().catch(() => false), false);
});

describe("a rule that denies does not go away unnoticed", () => {
  test("a file that was emptied by a failed write is refused", async () => {
    const live = policyFile("rules: [{ name: nobody, deny: everything }]");
    const requester = requesterOf();
    assert.equal(live.policy.admits(requester).allowed, false);
    await live.write("");
    assert.equal(live.policy.admits(requester).allowed, false);
  });

  for (const groups of [{ contractors: {} }, [{ name: "contractors" }], [["contractors"]]])
    test(`groups as ${JSON.stringify(groups)}: the operator is told that they say nothing`, () => {
      const { policy } = policyFile(
        "rules: [{ name: no contractors, for: { groups: [contractors] }, deny: everything }]",
      );
      assert.deepEqual(policy.unansweredBy({ groups }), ["groups"]);
    });
});

describe("the audit log", () => {
  const ALICE_IS_OUT = "rules: [{ name: alice is out, for: { users: [alice] }, deny: everything }]";

  test("says who was refused at a refresh and at a call, and by which rule", async () => {
    const live = policyFile("rules: []");
    const { testServer, client, lines } = await start({ policy: live.policy });
    const tokens = await signInForTokens(testServer.baseUrl, client);
    await live.write(ALICE_IS_OUT);
    await refresh(testServer.baseUrl, client, tokens.refresh_token);
    await callTool(testServer.url, tokens.access_token, "whoami");
    for (const event of ["token_refused", "access_refused"]) {
      const line = lines.find((each) => each.event === event);
      assert.deepEqual(
        [line?.reason, line?.subject, line?.rule],
        ["denied_by_policy", "alice", "alice is out"],
      );
    }
  });

  test("no tokens are issued to somebody who is denied everything by now", async () => {
    const live = policyFile("rules: []");
    const { testServer, client, lines } = await start({ policy: live.policy });
    const code = (await authorize(testServer.baseUrl, client)).get("code");
    await live.write(ALICE_IS_OUT);
    const answer = await redeem(testServer.baseUrl, client, code);
    assert.equal(answer.status, 400);
    assert.equal(lines.at(-1)?.event, "token_refused");
  });

  test("a full disk does not fill the memory as well", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const file = openAuditStream({ destination: "/dev/full", arguments: false }, pino({ level: "silent" }));
    collect();
    const before = process.memoryUsage().heapUsed;
    const line = "x".repeat(1_000);
    for (let i = 0; i < 20_000; i++) file?.write(`${i}${line}\n`);
    collect();
    const kept = process.memoryUsage().heapUsed - before;
    assert.ok(kept < 10e6, `${Math.round(kept / 1e6)} MB are kept`);
  });

  test("a named pipe that nobody reads does not stop the start without a word", async () => {
    const path = join(mkdtempSync(join(tmpdir(), "audit-")), "pipe");
    execFileSync("mkfifo", [path]);
    const script = `import { openAuditStream } from ${JSON.stringify(builtProgram("src/audit/audit"))};
      try { openAuditStream({ destination: ${JSON.stringify(path)}, arguments: false }, { error() {} }); } catch {}
      process.exit(7);`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script]);
    const exited = once(child, "exit").then(([code]) => code);
    const code = await Promise.race([exited, delay(60_000, "hangs", { ref: false })]);
    child.kill("SIGKILL");
    await exited;
    assert.equal(code, 7);
  });
});
