/**
 * A tool that calls an MCP server of another authorization server in the user's name: the identity provider of both asserts who the
 * user is (ID-JAG), and the other server gives a token for that. Two instances of this server, and one provider.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as readText } from "node:stream/consumers";
import { after, before, beforeEach, describe, test } from "node:test";
import { decodeJwt, type JWTPayload, SignJWT } from "jose";
import { pino } from "pino";
import { z } from "zod";
import { checkAuthorizationServer } from "../../src/cli/doctor/authorization-server.ts";
import { defineTool, getAccessTokenFor, type OtherApi, ToolError } from "../../src/index.ts";
import { systemClock } from "../../src/runtime/runtime.ts";
import { lineOf } from "../doctor/support.ts";
import { eventually } from "../support/eventually.ts";
import { type FaultyProxy, startFaultyProxy } from "../support/faulty-proxy.ts";
import { callTool, type Registered, register, revoke, signInForTokens } from "../support/oauth-client.ts";
import { startTestServer, type TestServer } from "../support/test-server.ts";
import { idJagIssuer, lookUpClient, newKey } from "../support/token-issuer.ts";

const SECRET = "the-secret-of-this-server-at-the-other-one-0123456789";
const ID_JAG = "urn:ietf:params:oauth:token-type:id-jag";
const folder = mkdtempSync(join(tmpdir(), "other-server-"));
after(() => rmSync(folder, { recursive: true }));

const GIVEN = { access_token: "a-token-of-the-strange-server", token_type: "Bearer", expires_in: 300 };

/** Of no user of ours: what it answers is what a test says. */
interface StrangeServer {
  issuer: string;
  status: number;
  body: object;
  revoked: string[];
  /** Done before it answers. */
  meanwhile?: (() => Promise<unknown>) | undefined;
}
const strange: StrangeServer = { issuer: "", status: 200, body: {}, revoked: [] };
const strangeServer = createServer(async (req, res) => {
  const form = new URLSearchParams(await readText(req));
  const { issuer } = strange;
  if (req.url === "/revoke") strange.revoked.push(form.get("token") ?? "");
  const isToken = req.url === "/token";
  if (isToken) await strange.meanwhile?.();
  strange.meanwhile = undefined;
  const metadata = { issuer, token_endpoint: `${issuer}/token`, revocation_endpoint: `${issuer}/revoke` };
  // It is an OpenID provider, too, and has its metadata there alone.
  if (req.url?.startsWith("/.well-known/oauth")) return void res.writeHead(404).end();
  res.writeHead(isToken ? strange.status : 200, { "content-type": "application/json" });
  res.end(JSON.stringify(isToken ? strange.body : metadata));
});
const { privateKey } = await newKey();
const secondsFromNow = (seconds: number) => Math.floor(Date.now() / 1000) + seconds;
const signed = (typ: string, aud: string, claims: JWTPayload = {}) =>
  new SignJWT({ aud, sub: "alice", ...claims }).setProtectedHeader({ alg: "ES256", typ }).sign(privateKey);

describe("another authorization server in the user's name", () => {
  let upstream: FaultyProxy;
  let other: TestServer;
  let ours: TestServer;
  let client: Registered;
  const lines: Array<Record<string, unknown>> = [];
  const unused = { id: "unused", secret: "unused-secret-of-nobody" };

  /** What a real tool never does: shows the token. */
  const exchange = defineTool({
    name: "exchange",
    description: "Exchanges for the API that it is told",
    input: z.object({ api: z.record(z.string(), z.unknown()) }),
    run: async ({ api }) => await getAccessTokenFor(api as unknown as OtherApi),
  });
  const whoThere = defineTool({
    name: "who_there",
    description: "Who the user is at the other server",
    async run() {
      const { baseUrl: authorizationServer, url: resource } = other;
      const accessToken = await getAccessTokenFor({
        authorizationServer,
        resource,
        scopes: ["weather:read"],
      });
      const { status, body } = await callTool(resource, accessToken, "whoami");
      if (status !== 200) throw new ToolError(`The other server answered ${status}.`);
      return JSON.stringify(body.result.structuredContent);
    },
  });

  before(async () => {
    await new Promise<void>((resolve) => strangeServer.listen(0, "127.0.0.1", resolve));
    strange.issuer = `http://localhost:${(strangeServer.address() as AddressInfo).port}`;
    upstream = await startFaultyProxy();
    const issuer = `http://localhost:${upstream.port}`;
    other = await startTestServer({
      environment: {
        CLIENTS: JSON.stringify([
          {
            client_id: "proxy",
            client_secret: SECRET,
            grant_types: ["urn:ietf:params:oauth:grant-type:jwt-bearer"],
          },
        ]),
      },
      adjust: (config) => ({ ...config, issuers: [idJagIssuer({ issuer })] }),
    });
    const CONFIG_FILE = join(folder, "server.yaml");
    const servers = [
      { issuer: other.baseUrl, clientId: "proxy", clientSecret: SECRET },
      { issuer: strange.issuer, clientId: "proxy", clientSecret: SECRET },
    ];
    writeFileSync(CONFIG_FILE, JSON.stringify({ authorizationServers: servers }), { mode: 0o600 });
    ours = await startTestServer({
      throughProxy: upstream,
      tools: [exchange, whoThere],
      environment: { CONFIG_FILE, ACCESS_TOKEN_SECONDS: "86400" },
      behaviour: { accessTokenSeconds: 7200 },
      // Whoever signs in does so now, by the server's clock as well.
      signedInAgo: () => -(ours?.clock.ahead ?? 0),
      mcpServer: {
        issuer: other.baseUrl,
        resource: other.url,
        application: { ...unused, redirectUri: "http://127.0.0.1/callback" },
        machine: { id: "unused-machine", secret: "unused-secret-of-nobody" },
      },
      auditStream: { write: (line) => lines.push(JSON.parse(line)) },
    });
    client = await register(ours.baseUrl);
  });
  after(async () => {
    strangeServer.close();
    strangeServer.closeAllConnections();
    await ours?.close();
    await other?.close();
    await upstream?.close();
  });
  beforeEach(() => {
    upstream.rewrite = undefined;
    upstream.answer = undefined;
    upstream.seen.length = 0;
    lines.length = 0;
  });

  const signIn = async () => (await signInForTokens(ours.baseUrl, client)).access_token;
  const there = () => ({ authorizationServer: other.baseUrl, resource: other.url, scopes: ["weather:read"] });
  async function asked(accessToken: string, api: object = there()) {
    const before = ours.log.length;
    const { status, body } = await callTool(ours.url, accessToken, "exchange", { api });
    assert.equal(status, 200);
    const logged = ours.log.slice(before).find(({ msg }) => msg === "No token for another API");
    return { text: body.result.content[0].text, isError: body.result.isError, reason: logged?.reason };
  }
  const grantTypes = () => upstream.seen.flatMap(({ grantType }) => grantType?.split(":").at(-1) ?? []);
  const forms = () =>
    upstream.seen
      .map(({ text }) => new URLSearchParams(text.split("\n").at(-1)))
      .filter((form) => form.get("requested_token_type") === ID_JAG);

  test("the other server knows who it is, through which client, and what they may do there", async () => {
    const accessToken = await signIn();
    const { body } = await callTool(ours.url, accessToken, "who_there");
    const found = JSON.parse(body.result.content[0].text);
    assert.deepEqual(
      [found.kind, found.subject, found.issuer, found.clientId, found.scopes],
      ["user", "alice", ours.identityProvider.issuer, "proxy", ["weather:read"]],
    );
    const line = lines.find(({ event }) => event === "token_exchanged");
    assert.deepEqual([line?.decision, line?.audience, line?.scopes], ["allow", other.url, ["weather:read"]]);
  });

  test("the provider is asked as the draft has it, with the ID token, once for many calls", async () => {
    const accessToken = await signIn();
    const [one, two] = await Promise.all([asked(accessToken), asked(accessToken)]);
    assert.match(one.text, /^mcp_at_/);
    assert.equal((await asked(accessToken)).text, one.text);
    assert.equal(two.text, one.text);
    assert.equal(forms().length, 1);
    const { subject_token: idToken = "", ...sent } = Object.fromEntries(forms()[0] ?? []);
    assert.deepEqual(sent, {
      grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
      requested_token_type: ID_JAG,
      audience: other.baseUrl,
      resource: other.url,
      scope: "weather:read",
      subject_token_type: "urn:ietf:params:oauth:token-type:id_token",
      client_id: "proxy",
      client_secret: "proxy-secret",
    });
    assert.deepEqual([decodeJwt(idToken).sub, decodeJwt(idToken).aud], ["alice", "proxy"]);
    assert.ok(!JSON.stringify([ours.log, lines]).includes(idToken));
  });

  test("an ID token that is over is renewed first, with the access token", async () => {
    const accessToken = await signIn();
    ours.clock.ahead += 3_700;
    other.clock.ahead += 3_700;
    upstream.seen.length = 0;
    assert.match((await asked(accessToken)).text, /^mcp_at_/);
    assert.deepEqual(grantTypes(), ["refresh_token", "token-exchange"]);
  });

  test("where the provider sends no other, the user is asked to sign in again, and nothing is tried again", async () => {
    const later = secondsFromNow(5 * 3_600);
    for (const idToken of [undefined, await signed("JWT", "proxy", { sub: "bob", exp: later })]) {
      const accessToken = await signIn();
      ours.clock.ahead += 3_700;
      other.clock.ahead += 3_700;
      upstream.seen.length = 0;
      upstream.rewrite = ({ id_token: _, ...body }) => ({ ...body, ...(idToken && { id_token: idToken }) });
      for (let call = 0; call < 2; call++) {
        const { text, reason } = await asked(accessToken);
        assert.equal(reason, "exchange_needs_sign_in");
        assert.match(text, /sign in again .*\/connections/);
      }
      assert.deepEqual(grantTypes(), ["refresh_token"]);
      upstream.rewrite = undefined;
    }
  });

  test("ends with the session here, where it is kept", async () => {
    const accessToken = await signIn();
    const id = (await ours.grantOf(accessToken))?.id;
    await asked(accessToken);
    assert.ok(await ours.records.get(`exchanged:${id}`));
    await revoke(ours.baseUrl, client, accessToken);
    assert.equal(await ours.records.get(`exchanged:${id}`), undefined);
  });

  test("an assertion that is no ID-JAG, or for another server, is not sent there", async () => {
    const accessToken = await signIn();
    const strange: Array<(body: Record<string, unknown>) => object | Promise<object>> = [
      (body) => ({ ...body, issued_token_type: "urn:ietf:params:oauth:token-type:access_token" }),
      async (body) => ({ ...body, access_token: await signed("JWT", other.baseUrl) }),
      async (body) => ({
        ...body,
        access_token: await signed("oauth-id-jag+jwt", "https://evil.example.com"),
      }),
      (body) => ({ ...body, access_token: "opaque" }),
    ];
    for (const rewrite of strange) {
      upstream.rewrite = (body) => (body.issued_token_type === undefined ? body : rewrite(body));
      const { isError, reason } = await asked(accessToken);
      assert.deepEqual([isError, reason], [true, "exchanged_token_type"]);
    }
  });

  test("what the other server refuses is said of it, and not of the provider", async () => {
    const accessToken = await signIn();
    // What somebody used before.
    const used = await (async () => {
      let found: Record<string, unknown> = {};
      upstream.rewrite = (body) => {
        if (body.issued_token_type !== undefined) found = body;
        return body;
      };
      await asked(accessToken);
      return found;
    })();
    upstream.rewrite = (body) => (body.issued_token_type === undefined ? body : used);
    const { text, reason } = await asked(await signIn());
    assert.equal(reason, "exchange_refused_elsewhere");
    assert.ok(
      text.startsWith(`The authorization server ${other.baseUrl} does not let this server use`),
      text,
    );
  });

  test("the provider says which sign-in it wants: the client is challenged for it, once, and then told in words", async () => {
    const refusal = { error: "insufficient_user_authentication", max_age: 5 };
    const accessToken = await signIn();
    upstream.answer = { status: 400, body: JSON.stringify(refusal) };
    const challenged = await callTool(ours.url, accessToken, "exchange", { api: there() });
    assert.equal(challenged.status, 401);
    assert.match(
      challenged.headers.get("www-authenticate") ?? "",
      /error="insufficient_user_authentication".* max_age="?60/,
    );
    upstream.answer = undefined;
    const fresh = await signInForTokens(ours.baseUrl, client, { parameters: { max_age: "60" } });
    assert.match((await asked(fresh.access_token)).text, /^mcp_at_/);

    const again = await signInForTokens(ours.baseUrl, client, { parameters: { max_age: "60" } });
    upstream.answer = { status: 400, body: JSON.stringify(refusal) };
    const { text, reason } = await asked(again.access_token);
    assert.equal(reason, "exchange_needs_sign_in");
    assert.match(text, /sign in again .*\/connections/);
  });

  test("one that does not say which: no challenge, words", async () => {
    const accessToken = await signIn();
    upstream.answer = { status: 400, body: JSON.stringify({ error: "insufficient_user_authentication" }) };
    assert.equal((await asked(accessToken)).reason, "exchange_needs_sign_in");
  });

  describe("one that answers as it should not", () => {
    const api = () => ({ authorizationServer: strange.issuer, resource: "https://crm.example.com" });
    /** The provider's answer, as if it knew that server too. */
    const asserted = async () => ({
      issued_token_type: ID_JAG,
      access_token: await signed("oauth-id-jag+jwt", strange.issuer),
      token_type: "N_A",
    });
    const cases: Array<[what: string, answer: Partial<StrangeServer>, reason: string, words: RegExp]> = [
      ["503", { status: 503 }, "authorization_server_failed", /authorization server.*Try again in a moment/],
      [
        "the client is unknown there",
        { status: 401, body: { error: "invalid_client" } },
        "authorization_server_misconfigured",
        /not set up correctly at http:.*Its operator has to repair that/,
      ],
      [
        "broader scopes",
        { body: { ...GIVEN, scope: "crm:read crm:delete" } },
        "exchanged_token_broader",
        /not what was asked for/,
      ],
      [
        "a token of another type",
        { body: { ...GIVEN, token_type: "mac" } },
        "authorization_server_failed",
        /Try again/,
      ],
      [
        "the scope is not given",
        { status: 400, body: { error: "invalid_scope" } },
        "exchange_scopes_refused",
        /the scope crm:read/,
      ],
    ];
    for (const [what, answer, expected, words] of cases)
      test(what, async () => {
        Object.assign(strange, { status: 200, body: GIVEN, ...answer });
        const assertion = await asserted();
        const accessToken = await signIn();
        upstream.answer = { status: 200, body: JSON.stringify(assertion) };
        const { text, reason } = await asked(accessToken, { ...api(), scopes: ["crm:read"] });
        assert.equal(reason, expected, text);
        assert.match(text, words);
      });

    test("a token that comes after the session ended is revoked there", async () => {
      Object.assign(strange, { status: 200, body: GIVEN });
      const assertion = await asserted();
      const accessToken = await signIn();
      upstream.answer = { status: 200, body: JSON.stringify(assertion) };
      strange.meanwhile = () => revoke(ours.baseUrl, client, accessToken);
      await callTool(ours.url, accessToken, "exchange", { api: api() });
      await eventually("it is revoked", () => strange.revoked.includes(GIVEN.access_token));
    });

    test("the doctor says so before anybody meets it", async () => {
      const settingsOf = (issuer: string) => ({
        issuer,
        timeoutSeconds: 5,
        client: lookUpClient("proxy", SECRET),
      });
      const runtime = { now: systemClock, randomBytes, log: pino({ level: "silent" }) };
      const line = async (issuer: string) =>
        lineOf(await checkAuthorizationServer(settingsOf(issuer), runtime));
      assert.match(await line(other.baseUrl), /^✓ .* its client proxy, .*\(invalid_grant\)/);
      Object.assign(strange, { status: 401, body: { error: "invalid_client" } });
      assert.match(await line(strange.issuer), /^✗ .* does not take assertions .* → Correct clientId/);
      assert.match(await line("http://localhost:9"), /^✗ .* gives no tokens for assertions: /);
    });

    test("one that CONFIG_FILE does not have is the tool's mistake", async () => {
      const unknown = await asked(await signIn(), { authorizationServer: "https://unknown.example.com" });
      assert.match(unknown.text, /failed unexpectedly/);
    });
  });

  test("the ID token is kept encrypted, and only where it is exchanged", async () => {
    const { grant, text } = await (async () => {
      const accessToken = await signIn();
      const found = await ours.grantOf(accessToken);
      return { grant: found, text: (await ours.records.get(`grant:${found?.id}`)) ?? "" };
    })();
    const { token = "" } = grant?.upstream?.idToken ?? {};
    assert.equal(decodeJwt(token).sub, "alice");
    assert.ok(!text.includes(token.slice(0, 20)));
    const tokens = await signInForTokens(other.baseUrl, await register(other.baseUrl));
    assert.equal((await other.grantOf(tokens.access_token))?.upstream?.idToken, undefined);
  });
});
