/** `doctor token`: why a bearer token is accepted or refused, by what the server itself decides, changing nothing. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { createPolicy } from "../../src/access/policy.ts";
import { parsePolicy } from "../../src/access/policy-file.ts";
import { askingServices } from "../../src/cli/doctor/program.ts";
import { explainToken, readPresented } from "../../src/cli/doctor/token.ts";
import { explainTokenHere } from "../../src/cli/doctor/token-here.ts";
import { knownNames } from "../../src/mcp/authoring/features.ts";
import type { Services } from "../../src/server/services.ts";
import {
  authorize,
  callTool,
  refresh,
  register,
  revoke,
  rpc,
  signInForTokens,
} from "../support/oauth-client.ts";
import { redisForTests } from "../support/redis.ts";
import { tellRedis } from "../support/redis-admin.ts";
import { type TestServer, useTestServer } from "../support/test-server.ts";
import { startTokenIssuer, type TokenIssuer } from "../support/token-issuer.ts";
import { doctorProcess, FEATURES, runDoctor, seen } from "./support.ts";

const redis = await redisForTests();

describe("doctor token", { skip: redis.skip }, () => {
  const testServer = useTestServer({
    redisUrl: redis.url!,
    environment: { REFRESH_GRACE_SECONDS: "30" },
  });
  after(() => redis.stop());

  async function signIn(options = {}) {
    const client = await register(testServer.baseUrl);
    return { client, tokens: await signInForTokens(testServer.baseUrl, client, options) };
  }

  /** At the server's time, by its own settings, as `explainTokenHere` asks. */
  async function explain(token: string, policy?: string) {
    const now = () => Math.floor(Date.now() / 1000) + testServer.clock.ahead;
    const { config } = testServer;
    const read = readPresented(token, config.identityProviders, now());
    return explained(read, config, {
      now,
      ...(policy !== undefined && {
        policy: createPolicy(parsePolicy(policy, "policy.yaml", knownNames([FEATURES]))),
      }),
    });
  }

  async function explained(
    read: ReturnType<typeof readPresented>,
    config: TestServer["config"],
    more?: Parameters<typeof askingServices>[4],
  ) {
    const ask = (services: Services) => explainToken(read, services);
    return seen(await askingServices(config, FEATURES, testServer.records, ask, more));
  }

  test("a good access token is reported with every stage, its scopes and its tools", async () => {
    const { client, tokens } = await signIn();
    const { line, findings } = await explain(tokens.access_token);
    assert.deepEqual(
      findings.filter(({ status }) => status !== "ok"),
      [],
    );
    assert.match(line("token.form"), /^✓ It is a whole access token/);
    assert.match(
      line("token.grant"),
      new RegExp(`^✓ .*alice with the client ${client.client_id}, signed in (just now|\\d+ seconds? ago)`),
    );
    assert.match(line("token.expiry"), /^✓ It ends in (59|60) minutes/);
    assert.match(line("token.scopes"), /^✓ Its scopes now: weather:read$/);
    assert.match(line("token.tool.current_weather"), /^✓ It may use current_weather/);
    assert.match(line("token.verdict"), /^✓ Accepted/);
  });

  test("a tool whose scope was not granted is a warning", async () => {
    const { tokens } = await signIn({ login: "bob" });
    const { line } = await explain(tokens.access_token);
    assert.match(line("token.scopes"), /^✓ Its scopes now: none/);
    assert.match(
      line("token.tool.current_weather"),
      /^! It may not use current_weather: it lacks weather:read/,
    );
    assert.match(line("token.tool.whoami"), /^✓/);
  });

  test("an expired access token is refused at token.expiry, with how long ago it ended", async () => {
    const { tokens } = await signIn();
    testServer.clock.ahead = 3_600 + 300;
    const { line, findings } = await explain(tokens.access_token);
    testServer.clock.ahead = 0;
    assert.match(
      line("token.expiry"),
      /^✗ Refused \(expired_access_token\): it ended [45] minutes ago.*→ Let the client refresh/,
    );
    assert.equal(findings.at(-1)?.check, "token.expiry", "nothing after the stage that refuses");
  });

  test("a token whose grant has ended is refused at token.grant, and one that the grant never had at token.known", async () => {
    const { client, tokens } = await signIn();
    const last = tokens.access_token.at(-1) === "A" ? "E" : "A";
    const madeUp = tokens.access_token.slice(0, -1) + last;
    const unknown = await explain(madeUp);
    assert.match(unknown.line("token.grant"), /^✓/);
    assert.match(unknown.line("token.known"), /^✗ Refused \(unknown_access_token\)/);
    await revoke(testServer.baseUrl, client, tokens.refresh_token);
    const ended = await explain(tokens.access_token);
    assert.match(ended.line("token.grant"), /^✗ Refused \(grant_ended\).*→ Let the client sign in again/);
    assert.match((await explain(tokens.refresh_token)).line("token.grant"), /^✗ Refused \(unknown_grant\)/);
  });

  test("a token for another address of this server is refused at token.resource", async () => {
    const { tokens } = await signIn();
    const moved = { ...testServer.config, baseUrl: "https://elsewhere.example.com" };
    const about = (token: string) => explained(readPresented(token, [], 0), moved);
    assert.match(
      (await about(tokens.access_token)).line("token.resource"),
      /^✗ .*it is for http:\/\/localhost.*BASE_URL/,
    );
    assert.match(
      (await about(tokens.refresh_token)).line("token.resource"),
      /^✗ Refused \(foreign_resource\)/,
    );
  });

  test("a user or tool that the policy denies is reported with the rule", async () => {
    const { tokens } = await signIn();
    const nobody = "rules:\n  - name: alice is away\n    deny: everything\n    for: { users: [alice] }\n";
    const noWeather =
      "rules:\n  - name: no weather\n    deny: { tools: [current_weather] }\n    for: { users: [alice] }\n";
    const denied = await explain(tokens.access_token, nobody);
    assert.match(
      denied.line("token.admission"),
      /^✗ Refused \(denied_by_policy\).*by the rule "alice is away".*policy explain/,
    );
    assert.match(
      (await explain(tokens.refresh_token, nobody)).line("token.admission"),
      /^✗ .*"alice is away"/,
    );
    const tool = await explain(tokens.access_token, noWeather);
    assert.match(tool.line("token.tool.current_weather"), /^! .*by the rule "no weather"/);
    assert.match(tool.line("token.verdict"), /^✓/);
  });

  test("a refresh token is told apart as current, replaced a moment ago, replaced long ago, or made up", async () => {
    const { client, tokens } = await signIn();
    assert.match((await explain(tokens.refresh_token)).line("token.known"), /^✓ .*good now/);
    const renewed = await refresh(testServer.baseUrl, client, tokens.refresh_token);
    assert.equal(renewed.status, 200);
    assert.match(
      (await explain(tokens.refresh_token)).line("token.known"),
      /^! It was replaced a moment ago: for now it gets the same answer again, and in \d+ seconds it will count as stolen/,
    );
    assert.match((await explain(renewed.body.refresh_token)).line("token.known"), /^✓/);
    testServer.clock.ahead = 31;
    const reused = await explain(tokens.refresh_token);
    testServer.clock.ahead = 0;
    assert.match(reused.line("token.known"), /^✗ Refused \(refresh_token_reused\).*ends the whole grant/);
    const last = tokens.refresh_token.at(-1) === "A" ? "E" : "A";
    const madeUp = await explain(tokens.refresh_token.slice(0, -1) + last);
    assert.match(madeUp.line("token.known"), /^✗ Refused \(unknown_refresh_token\)/);
    assert.equal(
      (await refresh(testServer.baseUrl, client, renewed.body.refresh_token)).status,
      200,
      "looking ended nothing",
    );
  });

  test("a grant that no key of SECRET_KEY opens is told apart from one that is not in the store", async () => {
    const { tokens } = await signIn();
    const config = { ...testServer.config, secretKeys: ["another-key-of-32-bytes-or-more-xyz"] };
    const { line } = await explained(readPresented(tokens.access_token, [], 0), config);
    assert.match(line("token.grant"), /^✗ Refused \(record_not_decryptable\).*NEW,OLD/);
  });

  test("the command reads standard input, changes no record, writes no audit line and prints no token", async () => {
    const { tokens } = await signIn();
    const { url } = testServer.config.store as { url: string };
    const prefix = (testServer.config.store as { keyPrefix: string }).keyPrefix;
    const dump = async () => {
      const keys = ((await tellRedis(url, "KEYS", `${prefix}:*`)) as string[]).sort();
      return new Map(
        await Promise.all(keys.map(async (key) => [key, await tellRedis(url, "DUMP", key)] as const)),
      );
    };
    const environment = { ...environmentOf(testServer), REDIS_KEY_PREFIX: prefix };
    const [before, lines] = [await dump(), testServer.log.length];
    const good = await doctorProcess(environment, ["token", "-"], `Bearer ${tokens.access_token}\n`);
    assert.equal(good.code, 0, good.stdout + good.stderr);
    assert.match(good.stdout, /✓ Accepted/);
    const json = await runDoctor(environment, ["token", tokens.refresh_token, "--json"]);
    assert.deepEqual(JSON.parse(json.stdout).accepted, true);
    const bad = await runDoctor(environment, ["token", "-"], `mcp_at_${"A".repeat(65)}\n`);
    assert.equal(bad.code, 1);
    assert.match(bad.stdout, /✗ Refused \(grant_ended\)/);
    for (const { stdout, stderr } of [good, json, bad])
      for (const token of [tokens.access_token, tokens.refresh_token])
        assert.ok(!(stdout + stderr).includes(token.slice(7, 40)));
    // Sign-ins that were finished are forgotten by themselves meanwhile.
    const lasting = (all: Map<string, unknown>) => [...all].filter(([key]) => !key.includes(":login:"));
    assert.deepEqual(lasting(await dump()), lasting(before));
    // On a busy machine it may say meanwhile that Redis is slow.
    const heard = testServer.log.slice(lines).filter((line) => "audit" in line || "status" in line);
    assert.deepEqual(heard, [], "the server heard nothing of it");
    const away = await runDoctor({ ...environment, REDIS_URL: "redis://127.0.0.1:1" }, [
      "token",
      tokens.access_token,
    ]);
    assert.equal(away.code, 1);
    assert.match(away.stdout, /! Could not tell whether it is good: Redis cannot be reached/);
  });

  test("the verdict is what the server answers", async () => {
    const { client, tokens } = await signIn();
    const code = (await authorize(testServer.baseUrl, client)).get("code") ?? "";
    const { line } = await explain(tokens.access_token);
    assert.match(line("token.verdict"), /^✓/);
    assert.equal((await callTool(testServer.url, tokens.access_token, "whoami")).status, 200);
    for (const refused of [tokens.refresh_token.replace("mcp_rt_", "mcp_at_"), code, "nonsense"]) {
      const { findings } = await explain(refused);
      assert.ok(
        findings.some(({ status }) => status === "failure"),
        refused.slice(0, 7),
      );
      assert.equal((await rpc(testServer.url, refused, "tools/list")).status, 401);
    }
  });
});

describe("doctor token: what was pasted in place of a token", () => {
  const issuer = "https://tenant.eu.auth0.com/";
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const jwt = (claims: object, typ = "JWT") =>
    `${encode({ alg: "RS256", typ })}.${encode(claims)}.c2lnbmF0dXJl`;
  const cases: Array<[what: string, pasted: string, line: RegExp]> = [
    ["nothing", " \n", /There is no token/],
    ["an authorization code", `mcp_ac_${"A".repeat(65)}`, /an authorization code, not a token.*\/token/],
    ["half of a token", `mcp_at_${"A".repeat(20)}`, /has 27 characters, and a whole one 72.*Copy it again/],
    ["a token with a strange character", `mcp_at_${"A".repeat(64)}!`, /has characters that no token has/],
    ["a token in two lines", `abc\ndef`, /spaces or line breaks/],
    [
      "the provider's own token",
      jwt({ iss: issuer, aud: ["https://api.example.com", "x"], exp: 1_000 }),
      /a JWT.*not verified: issued by https:\/\/tenant\.eu\.auth0\.com\/, this server's identity provider; for https:\/\/api\.example\.com, x; ends 2 minutes ago; signed with RS256.*own tokens, never the provider's/,
    ],
    [
      "a JWT of a stranger",
      jwt({ iss: "https://other.example" }),
      /issued by https:\/\/other\.example; for nobody; ends never/,
    ],
    ["something with two dots", "a.b.c", /three parts like a JWT, but is none/],
    ["an encrypted JWT", "a.b.c.d.e", /encrypted JWT/],
    ["an ID token", jwt({ iss: issuer, nonce: "n" }), /an ID token, not a token of this server/],
    [
      "an ID-JAG",
      jwt({ iss: issuer }, "oauth-id-jag+jwt"),
      /an assertion \(ID-JAG\), not a token.*presents it at \/token/,
    ],
    ["another server's key", "sk-1234567890", /no token of this server: those begin with mcp_at_/],
  ];
  for (const [what, pasted, line] of cases)
    test(`${what} is refused, and said to be that`, () => {
      const { kind, findings } = readPresented(pasted, [{ issuer }], 1_120);
      assert.equal(kind, undefined);
      const [finding] = findings;
      assert.equal(finding?.status, "failure");
      const text = `${finding?.says} ${finding !== undefined && "fix" in finding && finding.fix}`;
      assert.match(text, line);
      if (pasted.length > 15) assert.ok(!text.includes(pasted.slice(-15)), "never what was pasted");
    });

  test('"Bearer", quotation marks and white space around a token are removed, and the first two reported', () => {
    for (const around of ["Bearer TOKEN", '"TOKEN"', " TOKEN\n"]) {
      const { kind, findings } = readPresented(
        around.replace("TOKEN", `mcp_at_${"A".repeat(65)}`),
        [{ issuer }],
        0,
      );
      assert.equal(kind, "access");
      assert.equal(
        findings.some(({ check }) => check === "token.pasted"),
        around.trim() !== "TOKEN",
      );
    }
  });
});

function environmentOf({ config }: TestServer): Record<string, string> {
  const {
    identityProviders: [upstream],
    baseUrl,
    secretKeys,
    store,
  } = config;
  return {
    BASE_URL: baseUrl,
    OIDC_ISSUER: upstream.issuer,
    OIDC_CLIENT_ID: upstream.clientId,
    OIDC_CLIENT_SECRET: upstream.credential.kind === "secret" ? upstream.credential.secret : "",
    SECRET_KEY: secretKeys.join(","),
    REDIS_URL: (store as { url: string }).url,
  };
}

describe("doctor token: another issuer's access token", () => {
  let theirs: TokenIssuer;
  const closing: Array<() => void> = [];
  after(() => {
    for (const close of closing) close();
  });
  const testServer = useTestServer(async () => {
    theirs = await startTokenIssuer({ after: (close) => void closing.push(close) });
    return {
      adjust: (config) => ({
        ...config,
        issuers: [
          {
            accept: "access-token",
            issuer: theirs.issuer,
            algorithms: ["ES256"],
            timeoutSeconds: 0.5,
            types: ["at+jwt"],
            scopeClaims: ["scope"],
            scopes: new Map([["weather", ["weather:read"]]]),
          },
        ],
      }),
    };
  });
  const signed = (claims: Record<string, unknown> = {}, typ = "at+jwt") =>
    theirs.sign(
      { sub: "alice", client_id: "app", scope: "weather", aud: testServer.url, ...claims },
      { typ },
    );
  const explain = async (token: string) => seen(await explainTokenHere(token, testServer.config, FEATURES));

  test("a good one is reported with whose it is and what it may do", async () => {
    const { line } = await explain(await signed());
    assert.match(line("token.principal"), new RegExp(`^✓ It is of the user alice, of ${theirs.issuer}`));
    assert.match(line("token.tool.current_weather"), /^✓ It may use current_weather/);
    assert.match(line("token.verdict"), /^✓ Accepted/);
  });

  const now = () => Math.floor(Date.now() / 1000);
  const BAD: Array<[what: string, at: string, reason: string, token: () => Promise<string>]> = [
    ["an ID token", "token.form", "jwt_wrong_type", () => signed({}, "JWT")],
    ["for somebody else", "token.resource", "jwt_wrong_audience", () => signed({ aud: "x" })],
    ["expired", "token.expiry", "jwt_expired", () => signed({ exp: now() - 60 })],
    ["forged", "token.signature", "jwt_signature", async () => `${(await signed()).slice(0, -6)}AAAAAA`],
    ["nobody's", "token.principal", "token_claims", () => signed({ sub: undefined })],
  ];
  for (const [what, at, reason, token] of BAD)
    test(`one that is ${what} is refused at ${at}`, async () => {
      const { line } = await explain(await token());
      assert.match(line(at), new RegExp(`^✗ Refused \\(${reason}\\)`));
    });

  test("one whose issuer is out of reach is unknown", async () => {
    theirs.trouble = 500;
    const { line } = await explain(await signed());
    assert.match(line("token.signature"), /^! Could not tell whether it is good: its issuer cannot be asked/);
    theirs.trouble = undefined;
  });

  test("one of an issuer that is not trusted is refused, with the issuer that it names", async () => {
    const { line } = await explain(await signed({ iss: "https://evil.example" }));
    assert.match(line("token.form"), /^✗ It is a JWT.*issued by https:\/\/evil\.example/);
  });
});
