/** How the doctor judges answers: tables with the behaviour of every provider. No request is made. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { judgeCertificate } from "../../src/cli/doctor/certificate.ts";
import { aheadOfDateHeader, clockFinding } from "../../src/cli/doctor/clock.ts";
import { registration } from "../../src/cli/doctor/examine.ts";
import { findingsIn } from "../../src/cli/doctor/finding.ts";
import { checkNode } from "../../src/cli/doctor/program.ts";
import { judge, judgeRefresh, type Refusal, refusalKind } from "../../src/cli/doctor/provider-client.ts";
import { checkCapabilities, checkIssuer } from "../../src/cli/doctor/provider-discovery.ts";
import {
  judgeSignIn as judgeAnswers,
  type Outcome,
  type SignInAnswers,
} from "../../src/cli/doctor/provider-sign-in.ts";
import { FORGED, judgeViews } from "../../src/cli/doctor/proxy-headers.ts";
import {
  judgeEviction,
  judgeMemory,
  judgePersistence,
  judgeVersion,
  parseInfo,
} from "../../src/cli/doctor/redis-info.ts";
import { redisTrouble } from "../../src/cli/doctor/redis-trouble.ts";
import { loadConfig } from "../../src/config/config.ts";
import type { DoctorView } from "../../src/http/doctor-view.ts";
import { generic } from "../../src/identity/profiles/generic.ts";
import { UnavailableError } from "../../src/oauth/errors.ts";
import { lineOf, NOTHING_WORKS } from "./support.ts";

const {
  identityProviders: [upstream],
} = loadConfig({ ...NOTHING_WORKS, OIDC_ISSUER: "https://login.example.com/realms/main" });

describe("client credentials, by what providers answer to a made-up code", () => {
  const client = (code: string): Refusal => ({ kind: "client", code });
  const other = (code: string): Refusal => ({ kind: "other", code });
  const grantType: Refusal = { kind: "grant_type", code: "unauthorized_client" };
  const silence: Refusal = { kind: "no_refusal", says: "it answers HTTP 502" };

  const kinds: Array<[provider: string, status: number, code: string, kind: string]> = [
    ["RFC 6749", 401, "invalid_client", "client"],
    ["one that says it with 400", 400, "invalid_client", "client"],
    ["Keycloak, a wrong secret", 401, "unauthorized_client", "client"],
    ["Auth0, a wrong secret", 401, "access_denied", "client"],
    ["Auth0, a grant type that is switched off", 403, "unauthorized_client", "grant_type"],
    ["Auth0, a wrong code", 403, "invalid_grant", "other"],
    ["Entra, a malformed code", 400, "invalid_grant", "other"],
    ["Google, a redirect URI that is not registered", 400, "redirect_uri_mismatch", "other"],
  ];
  for (const [provider, status, code, kind] of kinds)
    test(`${provider}: ${status} ${code}`, () => assert.equal(refusalKind(status, code), kind));

  type Case = [why: string, ours: Refusal, madeUp: Refusal, verdict: string, status: string];
  const CODE: Case[] = [
    [
      "ours passes, a made-up one does not",
      other("invalid_grant"),
      client("invalid_client"),
      "accepted",
      "ok",
    ],
    [
      "the code is looked at first (Entra)",
      other("invalid_grant"),
      other("invalid_grant"),
      "unknown",
      "unknown",
    ],
    ["there is no secret (Keycloak)", other("invalid_request"), other("invalid_grant"), "unknown", "unknown"],
    ["a wrong secret may not do it (glewlwyd)", other("invalid_code"), grantType, "accepted", "ok"],
    ["ours is refused", client("invalid_client"), client("invalid_client"), "rejected", "failure"],
    ["so is the other, otherwise", client("access_denied"), other("invalid_grant"), "rejected", "failure"],
    ["ours may not use the grant", grantType, client("access_denied"), "accepted", "failure"],
    ["nobody may: grant or secret is wrong", grantType, grantType, "rejected", "failure"],
    ["an outage", silence, silence, "unknown", "unknown"],
    ["an outage of the second question", other("invalid_grant"), silence, "unknown", "unknown"],
  ];
  const TOKEN: Case[] = [
    ["ours may not refresh, a made-up one is refused", grantType, client("invalid_client"), "accepted", "ok"],
    ["nobody may refresh", grantType, grantType, "unknown", "unknown"],
  ];
  for (const [cases, grant] of [
    [CODE, "authorization_code"],
    [TOKEN, "refresh_token"],
  ] as const)
    for (const [why, ours, madeUp, verdict, status] of cases)
      test(`${grant}, ${why}: ${status}`, () => {
        const way = {
          preset: "oidc",
          method: "client_secret_post",
          kind: "secret",
          grantType: grant,
        } as const;
        const judged = judge(ours, madeUp, way);
        assert.deepEqual([judged.verdict, judged.finding.status], [verdict, status]);
        lineOf(judged.finding);
      });

  test("refresh tokens: what the token endpoint says of a made-up one", () => {
    const line = (answered: Refusal, asks = true) =>
      findingsIn(judgeRefresh(answered, asks, generic))
        .map(lineOf)
        .join();
    assert.match(line(grantType), /^! .*does not let this application use refresh tokens/);
    assert.match(
      line(other("invalid_grant")),
      /^✓ .*takes refresh tokens from this application.* with the scope offline_access/,
    );
    assert.match(line(other("invalid_grant"), false), /^✓ .*does not ask for the scope offline_access/);
    assert.equal(line(client("invalid_client")) + line(silence), "", "that is said of the client");
  });
});

test("what is to be registered: the exact URLs, and what to click", () => {
  const auth0 = {
    ...upstream,
    preset: "auth0" as const,
    issuer: "https://t.eu.auth0.com/",
    audience: "https://api.example.com",
  };
  const { callbackUrl, steps } = registration("https://mcp.example.com/tools", auth0, ["weather:read"]);
  assert.equal(callbackUrl, "https://mcp.example.com/tools/auth/callback");
  assert.match(
    steps.join("\n"),
    /Create API, Identifier https:\/\/api\.example\.com.*weather:read.*Allow Offline Access/,
  );
  assert.match(steps.join("\n"), /Regular Web Application.*Domain is t\.eu\.auth0\.com/);
  assert.match(registration("https://mcp.example.com", upstream, []).steps.join("\n"), /OIDC_CLIENT_SECRET/);
});

describe("the redirect URI, by where a sign-in without a user ends", () => {
  const options = {
    callbackUrl: "https://mcp.example.com/auth/callback",
    audience: "https://api.example.com",
    profile: generic,
  };
  const judgeSignIn = (...args: Parameters<typeof judgeAnswers>) => findingsIn(judgeAnswers(...args));
  const callback = (error: string, description = ""): Outcome => ({ kind: "callback", error, description });
  const page = (status: number, text: string): Outcome => ({ kind: "page", status, text });

  const cases: Array<[why: string, outcome: Outcome, lines: RegExp[]]> = [
    ["back to us, nobody is signed in", callback("login_required"), [/^✓ The callback URL is registered/]],
    ["back to us, Google's way", callback("interaction_required"), [/^✓ The callback URL is registered/]],
    [
      "Auth0 does not know the API",
      callback("access_denied", "Service not found: https://api.example.com"),
      [/^✓/, /^✗ The provider knows no API https:\/\/api\.example\.com/],
    ],
    [
      "a strict provider does not know the resource",
      callback("invalid_target"),
      [/^✓/, /^✗ The provider knows no API/],
    ],
    [
      "a scope is refused",
      callback("invalid_scope", "weather:read"),
      [/^✓/, /^✗ .*invalid_scope.*→ Add the scopes/],
    ],
    [
      "the application may not sign in",
      callback("unauthorized_client"),
      [/^✓/, /^✗ .*authorization code grant/],
    ],
    ["the provider is unwell", callback("server_error"), [/^✓/, /^! Could not tell whether sign-ins work/]],
    [
      "Keycloak",
      page(400, "<h1>We are sorry...</h1>Invalid parameter: redirect_uri"),
      [/^✗ The callback URL is not registered/],
    ],
    [
      "Auth0",
      page(403, "Callback URL mismatch. The provided redirect_uri is not in the list"),
      [/^✗ The callback URL is not/],
    ],
    [
      "Entra",
      page(200, "AADSTS50011: The redirect URI specified in the request does not match"),
      [/^✗ The callback URL is not/],
    ],
    [
      "Okta",
      page(400, "The 'redirect_uri' parameter must be a Login redirect URI in the client app settings"),
      [/^✗ The callback URL is not/],
    ],
    ["Google", page(400, " /signin/oauth/error  redirect_uri_mismatch"), [/^✗ The callback URL is not/]],
    [
      "another provider's page of error",
      page(400, "<title>Bad Request</title>"),
      [/^✗ The callback URL is not registered .*HTTP 400, "Bad Request"/],
    ],
    [
      "a login page, with the address in a hidden field and codes in its scripts",
      page(200, '<input name="redirect_uri"><script>["invalid_client","redirect_uri_mismatch"]'),
      [/^! Could not tell whether the callback/],
    ],
    ["an outage", page(503, "<title>Down</title> callback"), [/^✗|^!/]],
    ["too often", page(429, ""), [/^! Could not tell/]],
  ];
  for (const [why, outcome, lines] of cases)
    test(why, () => {
      const findings = judgeSignIn({ outcome }, "accepted", options);
      assert.equal(findings.length, lines.length, JSON.stringify(findings));
      for (const [index, line] of lines.entries()) assert.match(lineOf(findings[index]!), line);
    });

  test("a page of error, by what the token endpoint says of the client", () => {
    const answers = { outcome: page(400, "<title>Sorry</title>") };
    assert.deepEqual(judgeSignIn(answers, "rejected", options), [], "that is the same cause");
    assert.match(
      judgeSignIn(answers, "unknown", options).map(lineOf).join(),
      /^✗ .*error page \(HTTP 400, "Sorry"\) → Check that the client id is right and https:/,
    );
    const named = { outcome: page(400, "redirect_uri_mismatch") };
    assert.match(judgeSignIn(named, "rejected", options).map(lineOf).join(), /^✗ The callback URL is not/);
  });

  test("an outage is no verdict on the callback URL, whatever words its page has", () => {
    const [finding] = judgeSignIn({ outcome: page(503, "redirect_uri_mismatch") }, "accepted", options);
    assert.equal(finding?.status, "unknown");
  });

  test("the audience counts as known only if another one is refused", () => {
    const madeUp = (madeUpAudience: Outcome) => {
      const answers: SignInAnswers = { outcome: callback("login_required"), madeUpAudience };
      return judgeSignIn(answers, "accepted", options)[1]?.status;
    };
    assert.equal(madeUp(callback("access_denied", "Service not found")), "ok");
    assert.equal(madeUp(page(400, "")), "ok");
    assert.equal(madeUp(callback("login_required")), "unknown");
    assert.equal(madeUp(callback("server_error")), "unknown");
    assert.equal(madeUp(page(429, "")), "unknown");
    assert.equal(madeUp(page(200, "")), "unknown");
  });
});

describe("the issuer", () => {
  const line = (issuer: string, theirs: string, preset: "oidc" | "auth0" = "oidc") =>
    lineOf(checkIssuer({ issuer, preset }, theirs));

  test("another one is told with what is different, and the setting that helps", () =>
    assert.match(
      line("https://a.example/x", "https://a.example/x/"),
      /^✗ .*: the slash at the end is missing → Set OIDC_ISSUER=https:\/\/a\.example\/x\/$/,
    ));

  test("one that the server takes all the same is a warning: a bare host, a tenant's name at Entra", () => {
    assert.match(line("https://a.example", "https://a.example/"), /^! .*sign-ins work/);
    const entra = "https://login.microsoftonline.com";
    assert.match(line(`${entra}/contoso.com/v2.0`, `${entra}/3f8c2a40/v2.0`), /^! .*3f8c2a40\/v2\.0$/);
  });

  test("Auth0's users are told in the words of AUTH0_DOMAIN", () =>
    assert.match(
      line("https://login.example.com/", "https://tenant.eu.auth0.com/", "auth0"),
      /→ Set AUTH0_DOMAIN=tenant\.eu\.auth0\.com$/,
    ));

  test("Entra's pattern for all tenants is told what to do with", () => {
    const entra = "https://login.microsoftonline.com";
    assert.match(line(`${entra}/common/v2.0`, `${entra}/{tenantid}/v2.0`), /^✗.*TENANT-ID/);
  });
});

describe("what discovery says", () => {
  const status = (metadata: Record<string, unknown>, check: string) =>
    checkCapabilities(metadata).find((each) => each.check === check)?.status;
  test("silence is read as RFC 8414 says, and where it says nothing nobody knows", () => {
    const code = { response_types_supported: ["code"] };
    assert.equal(status(code, "provider.code_flow"), "ok");
    assert.equal(status({}, "provider.code_flow"), "failure");
    assert.equal(status({ ...code, grant_types_supported: ["implicit"] }, "provider.code_flow"), "failure");
    assert.equal(status({}, "provider.pkce"), "unknown");
    assert.equal(status({ code_challenge_methods_supported: ["plain"] }, "provider.pkce"), "warning");
  });
});

describe("clocks", () => {
  const at = (ahead: number) => clockFinding("c", "the provider's", ahead).status;
  test("a difference is told before it hurts, and is a failure when it does", () =>
    assert.deepEqual([0, 5, -6, 31, -301].map(at), ["ok", "ok", "warning", "warning", "failure"]));
  test("the Date header is taken at the middle of its second and of the way", () => {
    const date = "Wed, 25 Nov 2026 20:00:00 GMT";
    assert.equal(aheadOfDateHeader(date, Date.parse(date) + 500 + 1000, 2000), 0);
    assert.equal(aheadOfDateHeader(date, Date.parse(date) + 60_500, 0), 60);
    assert.equal(aheadOfDateHeader(null, 0, 0), undefined);
    assert.equal(aheadOfDateHeader("soon", 0, 0), undefined);
  });
});

describe("certificates and Node", () => {
  const now = Date.parse("2026-11-25T12:00:00Z");
  const line = (validTo: string, problem?: string) =>
    lineOf(judgeCertificate({ validTo: Date.parse(validTo), problem }, "mcp.example.com", now));
  test("a certificate", () => {
    assert.match(line("2027-02-01"), /^✓ .* valid for 67 more days/);
    assert.match(line("2026-12-01"), /^! .* ends in 5 days \(2026-12-01\)/);
    assert.match(line("2026-11-01", "CERT_HAS_EXPIRED"), /^✗ .* has expired \(on 2026-11-01\) → Renew/);
    assert.match(line("2027-02-01", "ERR_TLS_CERT_ALTNAME_INVALID"), /^✗ .* for another host name/);
    assert.match(line("2027-02-01", "SELF_SIGNED_CERT_IN_CHAIN"), /^✗ .* NODE_EXTRA_CA_CERTS/);
    assert.match(line("2027-02-01", "SOMETHING_NEW"), /^✗ .* is not valid: SOMETHING_NEW/);
  });
  test("Node", () => {
    const line = (version: string, lts?: string) => lineOf(checkNode({ version, lts }));
    for (const old of ["v18.20.0", "v20.18.9"])
      assert.match(line(old, "Iron"), /^✗ .*too old: this server needs >=20\.19/);
    for (const good of ["v20.19.0", "v22.1.0", "v28.0.0"]) assert.match(line(good, "Jod"), /^✓/);
    assert.match(line("v25.0.0"), /^! .*not of a line with long-term support → Install/);
  });
});

describe("how requests arrive", () => {
  const CLIENT = "203.0.113.9";
  const PROXY = "10.0.0.2";
  const view = (address: string, peer: string, forwardedFor?: string) => ({
    address,
    peer,
    ...(forwardedFor !== undefined && { forwardedFor }),
  });
  const line = (plain: DoctorView, forged: DoctorView, isHttps: boolean, ownAddresses: string[] = []) =>
    lineOf(judgeViews(plain, forged, { isHttps, ownAddresses }));

  test("directly", () =>
    assert.match(line(view(CLIENT, CLIENT), view(CLIENT, CLIENT, FORGED), false), /^✓ .* directly/));
  test("through a proxy that is trusted", () =>
    assert.match(
      line(view(CLIENT, PROXY, CLIENT), view(CLIENT, PROXY, `${FORGED}, ${CLIENT}`), true),
      /^✓ .* through its proxy \(this computer as 203\.0\.113\.9\)/,
    ));
  test("through a proxy that nobody trusts", () =>
    assert.match(
      line(view(`::ffff:${PROXY}`, `::ffff:${PROXY}`, CLIENT), view(PROXY, PROXY, CLIENT), true),
      /^! .* → Set TRUSTED_PROXIES=10\.0\.0\.2 /,
    ));
  test("through a second proxy that nobody trusts", () =>
    assert.match(
      line(
        view("10.0.0.3", PROXY, `${CLIENT}, 10.0.0.3`),
        view("10.0.0.3", PROXY, `${FORGED}, ${CLIENT}, 10.0.0.3`),
        true,
      ),
      /^! .* 2 proxies.* → Add 10\.0\.0\.3/,
    ));
  test("through a proxy that names nobody: https shows that there is one", () =>
    assert.match(line(view(PROXY, PROXY), view(PROXY, PROXY, FORGED), true), /^! .* does not name clients/));
  test("through a proxy that removes the header", () =>
    assert.match(line(view(PROXY, PROXY), view(PROXY, PROXY), false), /^! .* does not name clients/));
  test("where a forged header is believed", () => {
    assert.match(
      line(view(PROXY, PROXY), view(FORGED, PROXY, FORGED), true),
      /^✗ .* → Take 10\.0\.0\.2 out of TRUSTED_PROXIES/,
    );
    assert.match(
      line(view(CLIENT, PROXY, CLIENT), view(FORGED, PROXY, `${FORGED}, ${CLIENT}`), true),
      /^✗ .* instead of passing on/,
    );
  });
  test("where this computer is itself trusted, its forgery says nothing", () => {
    const appended = [view(CLIENT, PROXY, CLIENT), view(FORGED, PROXY, `${FORGED}, ${CLIENT}`)] as const;
    assert.match(line(...appended, true, [CLIENT]), /^! Could not tell.*203\.0\.113\.9/);
    const direct = [view("127.0.0.1", "127.0.0.1"), view(FORGED, "127.0.0.1", FORGED)] as const;
    assert.match(line(...direct, false, ["127.0.0.1"]), /^! Could not tell/);
    assert.match(line(...direct, true, ["127.0.0.1"]), /^✗/, "https: a proxy of this computer passed it on");
  });
});

describe("Redis", () => {
  const info = (text: string) => parseInfo(text.replaceAll("\n", "\r\n"));
  test("what it says of itself", () => {
    assert.match(lineOf(judgeVersion(info("redis_version:7.0.15"))), /^✓ It is Redis 7\.0\.15/);
    assert.match(
      lineOf(judgeVersion(info("redis_version:7.2.4\nvalkey_version:8.1.0"))),
      /^✓ It is Valkey 8/,
    );
    assert.match(lineOf(judgeVersion(info("redis_version:5.0.7"))), /^✗ .*5\.0\.7.*→ Upgrade/);
    assert.match(lineOf(judgeVersion(info(""))), /^! Could not tell/);
    assert.match(lineOf(judgeEviction(info("maxmemory_policy:volatile-lru"))), /^! It drops .*volatile-lru/);
    assert.match(lineOf(judgeEviction(info(""))), /^! Could not tell/);
    const memory = (text: string) =>
      findingsIn(judgeMemory(info(text)))
        .map(lineOf)
        .join();
    assert.match(memory("used_memory:900\nmaxmemory:1000"), /^! .*→ Raise maxmemory/);
    assert.match(memory("used_memory:100\nmaxmemory:0\ntotal_system_memory:1000"), /^✓/);
    assert.equal(memory(""), "");
    const persistence = (text: string, save?: string) => lineOf(judgePersistence(info(text), save));
    assert.match(persistence("aof_enabled:1"), /^✓ It writes/);
    assert.match(persistence("aof_enabled:0", "3600 1"), /^✓ It saves/);
    assert.match(persistence("aof_enabled:0", ""), /^! It keeps records in memory only/);
    assert.match(persistence("aof_enabled:0"), /^! Could not tell/);
    assert.match(persistence("aof_enabled:1\naof_last_write_status:err"), /^! It could not write/);
  });

  const topology = { url: "redis://user:hunter2@redis.example.com:6379", keyPrefix: "mcp" };
  const troubles: Array<[error: unknown, line: RegExp]> = [
    [new Error("NOAUTH Authentication required."), /wants a password/],
    [
      new Error("WRONGPASS invalid username-password pair or user is disabled."),
      /refuses the user or password of REDIS_URL/,
    ],
    [new Error("ERR AUTH <password> called without any password configured"), /refuses the user or password/],
    [new Error("NOPERM this user has no permissions to run the 'eval' command"), /does not permit its user/],
    [new Error("READONLY You can't write against a read only replica."), /is a replica/],
    [new Error("OOM command not allowed when used memory > 'maxmemory'."), /used up its memory/],
    [new Error("MISCONF Redis is configured to save RDB snapshots"), /could not save/],
    [new Error("LOADING Redis is loading the dataset in memory"), /is loading/],
    [new Error("CLUSTERDOWN The cluster is down"), /a part is down/],
    [
      Object.assign(new Error("connect"), { code: "ECONNREFUSED" }),
      /Nothing listens at redis\.example\.com:6379/,
    ],
    [Object.assign(new Error("getaddrinfo"), { code: "ENOTFOUND" }), /host name of Redis/],
    [
      Object.assign(new Error("expired"), { code: "CERT_HAS_EXPIRED" }),
      /certificate of Redis .* has expired/,
    ],
    [
      Object.assign(new Error("self-signed"), { code: "DEPTH_ZERO_SELF_SIGNED_CERT" }),
      /certificate of Redis/,
    ],
    [new Error("no answer within 2000 ms"), /does not answer in time/],
    [new Error("something that nobody foresaw"), /cannot be reached: something that nobody foresaw/],
  ];
  for (const [error, line] of troubles)
    test(`${(error as Error).message}`, () => {
      for (const each of [
        error,
        new UnavailableError("storage", { reason: "redis_unavailable", cause: error }),
      ]) {
        const { says, fix } = redisTrouble(each, topology);
        assert.match(says, line);
        assert.ok(fix.length > 20 && !fix.includes("SETTING"));
        assert.ok(!`${says}${fix}`.includes("hunter2"));
      }
    });
});
