/** How the doctor judges answers: tables with the behaviour of every provider. No request is made. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { certificateProblem } from "../../src/cli/doctor/ask.ts";
import { judgeCertificate } from "../../src/cli/doctor/certificate.ts";
import { checkCertificateOfClient, credentialSteps } from "../../src/cli/doctor/client-key.ts";
import { aheadOfDateHeader, clockFinding } from "../../src/cli/doctor/clock.ts";
import { registration } from "../../src/cli/doctor/examine.ts";
import { findingsIn } from "../../src/cli/doctor/finding.ts";
import { checkNode } from "../../src/cli/doctor/program.ts";
import { judge, judgeRefresh, type Refusal, refusalKind } from "../../src/cli/doctor/provider-client.ts";
import { checkCapabilities, checkIssuer } from "../../src/cli/doctor/provider-discovery.ts";
import { judgeExchange } from "../../src/cli/doctor/provider-exchange.ts";
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
import { systemClock } from "../../src/runtime/runtime.ts";
import { lineOf, NOTHING_WORKS } from "./support.ts";

const {
  identityProviders: [upstream],
} = loadConfig({ ...NOTHING_WORKS, OIDC_ISSUER: "https://login.example.com/realms/main" });

const client = (code: string): Refusal => ({ kind: "client", said: code });
const other = (code: string): Refusal => ({ kind: "other", said: code });
const grantType: Refusal = { kind: "grant_type", said: "unauthorized_client" };
const silence: Refusal = { kind: "none", said: "it answers HTTP 502" };

describe("doctor: client credentials, by a provider's answers to made-up codes", () => {
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
      "our secret passes and a made-up one is refused",
      other("invalid_grant"),
      client("invalid_client"),
      "accepted",
      "ok",
    ],
    [
      "the provider looks at the code first (Entra)",
      other("invalid_grant"),
      other("invalid_grant"),
      "unknown",
      "unknown",
    ],
    [
      "the application has no secret (Keycloak)",
      other("invalid_request"),
      other("invalid_grant"),
      "unknown",
      "unknown",
    ],
    ["a made-up secret may not use the grant (glewlwyd)", other("invalid_code"), grantType, "accepted", "ok"],
    ["our secret is refused", client("invalid_client"), client("invalid_client"), "rejected", "failure"],
    [
      "our secret is refused, and a made-up one passes",
      client("access_denied"),
      other("invalid_grant"),
      "rejected",
      "failure",
    ],
    ["our application may not use the grant", grantType, client("access_denied"), "accepted", "failure"],
    ["neither secret may use the grant", grantType, grantType, "rejected", "failure"],
    ["an outage", silence, silence, "unknown", "unknown"],
    [
      "the provider is out of order for the made-up secret",
      other("invalid_grant"),
      silence,
      "unknown",
      "unknown",
    ],
  ];
  const TOKEN: Case[] = [
    [
      "our application may not refresh, and a made-up secret is refused",
      grantType,
      client("invalid_client"),
      "accepted",
      "ok",
    ],
    ["neither secret may refresh", grantType, grantType, "unknown", "unknown"],
  ];
  for (const [cases, grant] of [
    [CODE, "authorization_code"],
    [TOKEN, "refresh_token"],
  ] as const)
    for (const [why, ours, madeUp, verdict, status] of cases)
      test(`${grant}, ${why}: ${status}`, () => {
        const proof = { kind: "secret", ours: { method: "client_secret_post" } } as const;
        const judged = judge(ours, madeUp, grant, proof, generic);
        assert.deepEqual([judged.verdict, judged.finding.status], [verdict, status]);
        lineOf(judged.finding);
      });

  test("a refresh grant that the application may not use is a warning", () => {
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

test("doctor: the steps of registration name the exact URLs and what to click at the provider", () => {
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
  assert.match(
    steps.join("\n"),
    /getAccessTokenFor\): Auth0: make a Custom API client .* make a Custom Token Exchange profile/,
  );
});

test("doctor: tokens for other APIs are reported with the dialect, whether discovery lists it, and what has to be allowed", () => {
  const line = (answered: Parameters<typeof judgeExchange>[0], changes: object = {}, grants?: string[]) =>
    findingsIn(judgeExchange(answered, { ...upstream, ...changes }, { grant_types_supported: grants }))
      .map(lineOf)
      .join();
  const exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
  assert.match(
    line(other("invalid_target"), {}, [exchange]),
    /^✓ It takes requests .* by token exchange \(RFC 8693\).*\(invalid_target; its discovery document lists that\)/,
  );
  assert.match(
    line(grantType, {}, ["authorization_code"]),
    /^✓ It gives this application no tokens .*does not list that\)\. Nothing to do unless .*Keycloak/,
  );
  const entra = { issuer: "https://login.microsoftonline.com/11111111-1111-4111-8111-111111111111/v2.0" };
  assert.match(line(grantType, entra), /by the on-behalf-of flow .*does not say\)\..* admin consent/);
  const auth0 = { preset: "auth0", issuer: "https://t.eu.auth0.com/" };
  assert.match(
    line({ kind: "not_set", said: "OIDC_SUBJECT_TOKEN_TYPE is not set" }, auth0),
    /by On-Behalf-Of or Custom Token Exchange: OIDC_SUBJECT_TOKEN_TYPE is not set\. .*allow_any_profile_of_type/,
  );
  assert.equal(line(client("invalid_client")) + line(silence), "", "that is said of the client");
  const credential = { kind: "secret", secret: "secret" };
  assert.match(
    line(client("invalid_client"), { exchangeClient: { clientId: "exchanger", credential } }),
    /^✗ The provider does not accept the client that exchanges .* → .*OIDC_EXCHANGE_CLIENT_SECRET/,
  );
});

test("doctor: a client certificate that ends within 30 days is a warning", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "doctor-certificate-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
  const request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "90", "-subj", "/CN=mcp"];
  execFileSync("openssl", [...request, "-keyout", key, "-out", certificate], { stdio: "ignore" });
  const credential = { kind: "private_key" as const, path: key, certificatePath: certificate };
  const line = (days: number) =>
    findingsIn(checkCertificateOfClient({ credential }, systemClock() + days * 86_400))
      .map(lineOf)
      .join();
  assert.match(line(0), /^✓ .* is good until \d{4}-\d\d-\d\d$/);
  assert.match(line(70), /^! .* ends on .* → Register a new certificate/);
  assert.match(line(91), /^! .* ended on /);
  assert.match(credentialSteps({ credential }).join(), /RS256\): SHA-256 fingerprint ([0-9A-F]{2}:){31}/);
});

describe("doctor: the callback URL, by where a sign-in without a user ends", () => {
  const options = {
    callbackUrl: "https://mcp.example.com/auth/callback",
    audience: "https://api.example.com",
    profile: generic,
  };
  const judgeSignIn = (...args: Parameters<typeof judgeAnswers>) => findingsIn(judgeAnswers(...args));
  const callback = (error: string, description = ""): Outcome => ({ kind: "callback", error, description });
  const page = (status: number, text: string): Outcome => ({ kind: "page", status, text });

  const cases: Array<[why: string, outcome: Outcome, lines: RegExp[]]> = [
    [
      "login_required at the callback: registered",
      callback("login_required"),
      [/^✓ The callback URL is registered/],
    ],
    [
      "interaction_required at the callback: registered",
      callback("interaction_required"),
      [/^✓ The callback URL is registered/],
    ],
    [
      'access_denied with "Service not found" at the callback: unknown API (Auth0)',
      callback("access_denied", "Service not found: https://api.example.com"),
      [/^✓/, /^✗ The provider knows no API https:\/\/api\.example\.com/],
    ],
    [
      "invalid_target at the callback: unknown API",
      callback("invalid_target"),
      [/^✓/, /^✗ The provider knows no API/],
    ],
    [
      "invalid_scope at the callback: the remedy is to add the scopes",
      callback("invalid_scope", "weather:read"),
      [/^✓/, /^✗ .*invalid_scope.*→ Add the scopes/],
    ],
    [
      "unauthorized_client at the callback: the grant is not allowed",
      callback("unauthorized_client"),
      [/^✓/, /^✗ .*authorization code grant/],
    ],
    [
      "server_error at the callback: sign-ins are unknown",
      callback("server_error"),
      [/^✓/, /^! Could not tell whether sign-ins work/],
    ],
    [
      "Keycloak's error page: not registered",
      page(400, "<h1>We are sorry...</h1>Invalid parameter: redirect_uri"),
      [/^✗ The callback URL is not registered/],
    ],
    [
      "Auth0's error page: not registered",
      page(403, "Callback URL mismatch. The provided redirect_uri is not in the list"),
      [/^✗ The callback URL is not/],
    ],
    [
      "Entra's error page: not registered",
      page(200, "AADSTS50011: The redirect URI specified in the request does not match"),
      [/^✗ The callback URL is not/],
    ],
    [
      "Okta's error page: not registered",
      page(400, "The 'redirect_uri' parameter must be a Login redirect URI in the client app settings"),
      [/^✗ The callback URL is not/],
    ],
    [
      "Google's error page: not registered",
      page(400, " /signin/oauth/error  redirect_uri_mismatch"),
      [/^✗ The callback URL is not/],
    ],
    [
      "another provider's error page: not registered",
      page(400, "<title>Bad Request</title>"),
      [/^✗ The callback URL is not registered .*HTTP 400, "Bad Request"/],
    ],
    [
      "a login page with error codes in its scripts: unknown",
      page(200, '<input name="redirect_uri"><script>["invalid_client","redirect_uri_mismatch"]'),
      [/^! Could not tell whether the callback/],
    ],
    ["HTTP 503: unknown", page(503, "<title>Down</title> callback"), [/^! Could not tell/]],
    ["HTTP 429: unknown", page(429, ""), [/^! Could not tell/]],
  ];
  for (const [why, outcome, lines] of cases)
    test(why, () => {
      const findings = judgeSignIn({ outcome }, "accepted", options);
      assert.equal(findings.length, lines.length, JSON.stringify(findings));
      for (const [index, line] of lines.entries()) assert.match(lineOf(findings[index]!), line);
    });

  test("an error page is reported once: with the client, if the token endpoint rejects that, else as a refused sign-in", () => {
    const answers = { outcome: page(400, "<title>Sorry</title>") };
    assert.deepEqual(judgeSignIn(answers, "rejected", options), [], "that is the same cause");
    assert.match(
      judgeSignIn(answers, "unknown", options).map(lineOf).join(),
      /^✗ .*error page \(HTTP 400, "Sorry"\) → Check that the client id is right and https:/,
    );
    const named = { outcome: page(400, "redirect_uri_mismatch") };
    assert.match(judgeSignIn(named, "rejected", options).map(lineOf).join(), /^✗ The callback URL is not/);
  });

  test("HTTP 503 is unknown, whatever error code stands on its page", () => {
    const [finding] = judgeSignIn({ outcome: page(503, "redirect_uri_mismatch") }, "accepted", options);
    assert.equal(finding?.status, "unknown");
  });

  test("the audience counts as known only if a made-up one is refused", () => {
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

describe("doctor: the issuer in the discovery document", () => {
  const line = (issuer: string, theirs: string, preset: "oidc" | "auth0" = "oidc") =>
    lineOf(checkIssuer({ issuer, preset }, theirs));

  test("another issuer is a failure that names the difference and the setting", () =>
    assert.match(
      line("https://a.example/x", "https://a.example/x/"),
      /^✗ .*: the slash at the end is missing → Set OIDC_ISSUER=https:\/\/a\.example\/x\/$/,
    ));

  test("a missing slash after a bare host, and a tenant's name at Entra, are warnings", () => {
    assert.match(line("https://a.example", "https://a.example/"), /^! .*sign-ins work/);
    const entra = "https://login.microsoftonline.com";
    assert.match(line(`${entra}/contoso.com/v2.0`, `${entra}/3f8c2a40/v2.0`), /^! .*3f8c2a40\/v2\.0$/);
  });

  test("an Auth0 issuer is corrected by AUTH0_DOMAIN", () =>
    assert.match(
      line("https://login.example.com/", "https://tenant.eu.auth0.com/", "auth0"),
      /→ Set AUTH0_DOMAIN=tenant\.eu\.auth0\.com$/,
    ));

  test("Entra's pattern for all tenants is a failure whose remedy is the tenant's id", () => {
    const entra = "https://login.microsoftonline.com";
    assert.match(line(`${entra}/common/v2.0`, `${entra}/{tenantid}/v2.0`), /^✗.*TENANT-ID/);
  });
});

describe("doctor: capabilities in the discovery document", () => {
  const status = (metadata: Record<string, unknown>, check: string) =>
    checkCapabilities(metadata).find((each) => each.check === check)?.status;
  test("missing lists are read as RFC 8414 says, and missing PKCE methods are unknown", () => {
    const code = { response_types_supported: ["code"] };
    assert.equal(status(code, "provider.code_flow"), "ok");
    assert.equal(status({}, "provider.code_flow"), "failure");
    assert.equal(status({ ...code, grant_types_supported: ["implicit"] }, "provider.code_flow"), "failure");
    assert.equal(status({}, "provider.pkce"), "unknown");
    assert.equal(status({ code_challenge_methods_supported: ["plain"] }, "provider.pkce"), "warning");
  });
});

describe("doctor: clocks", () => {
  const at = (ahead: number) => clockFinding("c", "the provider's", ahead).status;
  test("a difference of up to 5 s is in order, of up to 5 minutes a warning, of more a failure", () =>
    assert.deepEqual([0, 5, -6, 31, -301].map(at), ["ok", "ok", "warning", "warning", "failure"]));
  test("the Date header counts as written in the middle of the request", () => {
    const date = "Wed, 25 Nov 2026 20:00:00 GMT";
    const now = Date.parse(date) / 1000;
    assert.equal(aheadOfDateHeader(date, now + 1, 2), 0);
    assert.equal(aheadOfDateHeader(date, now + 60, 0), 60);
    assert.equal(aheadOfDateHeader(null, 0, 0), undefined);
    assert.equal(aheadOfDateHeader("soon", 0, 0), undefined);
  });
});

describe("doctor: certificates and the version of Node", () => {
  const now = Date.parse("2026-11-25T12:00:00Z") / 1000;
  const line = (validTo: string) => lineOf(judgeCertificate(validTo, "mcp.example.com", now));
  test("a server certificate is reported with the days that are left, and OpenSSL's codes with a remedy", () => {
    assert.match(line("2027-02-01"), /^✓ .* valid for 67 more days/);
    assert.match(line("2026-12-01"), /^! .* ends in 5 days \(2026-12-01\)/);
    const problem = (code: string) => {
      const { says, fix } = certificateProblem(code) ?? {};
      return `${says} → ${fix}`;
    };
    assert.match(problem("CERT_HAS_EXPIRED"), /^has expired → Renew/);
    assert.match(problem("ERR_TLS_CERT_ALTNAME_INVALID"), /^is for another host name/);
    assert.match(problem("SELF_SIGNED_CERT_IN_CHAIN"), / → .*NODE_EXTRA_CA_CERTS/);
  });
  test("Node below the least version is a failure, and a line without long-term support a warning", () => {
    const line = (version: string, lts?: string) => lineOf(checkNode({ version, lts }));
    for (const old of ["v18.20.0", "v20.18.9"])
      assert.match(line(old, "Iron"), /^✗ .*too old: this server needs >=20\.19/);
    for (const good of ["v20.19.0", "v22.1.0", "v28.0.0"]) assert.match(line(good, "Jod"), /^✓/);
    assert.match(line("v25.0.0"), /^! .*not of a line with long-term support → Install/);
  });
});

describe("doctor: how requests arrive behind proxies", () => {
  const CLIENT = "203.0.113.9";
  const PROXY = "10.0.0.2";
  const view = (address: string, peer: string, forwardedFor?: string) => ({
    address,
    peer,
    ...(forwardedFor !== undefined && { forwardedFor }),
  });
  const line = (plain: DoctorView, forged: DoctorView, isHttps: boolean, ownAddresses: string[] = []) =>
    lineOf(judgeViews(plain, forged, { isHttps, ownAddresses }));

  test("requests without a proxy are in order", () =>
    assert.match(line(view(CLIENT, CLIENT), view(CLIENT, CLIENT, FORGED), false), /^✓ .* directly/));
  test("a trusted proxy is in order", () =>
    assert.match(
      line(view(CLIENT, PROXY, CLIENT), view(CLIENT, PROXY, `${FORGED}, ${CLIENT}`), true),
      /^✓ .* through its proxy \(this computer as 203\.0\.113\.9\)/,
    ));
  test("an untrusted proxy is a warning with the value for TRUSTED_PROXIES", () =>
    assert.match(
      line(view(`::ffff:${PROXY}`, `::ffff:${PROXY}`, CLIENT), view(PROXY, PROXY, CLIENT), true),
      /^! .* → Set TRUSTED_PROXIES=10\.0\.0\.2 /,
    ));
  test("an untrusted second proxy is a warning with its address", () =>
    assert.match(
      line(
        view("10.0.0.3", PROXY, `${CLIENT}, 10.0.0.3`),
        view("10.0.0.3", PROXY, `${FORGED}, ${CLIENT}, 10.0.0.3`),
        true,
      ),
      /^! .* 2 proxies.* → Add 10\.0\.0\.3/,
    ));
  test("a proxy without X-Forwarded-For before an https address is a warning", () =>
    assert.match(line(view(PROXY, PROXY), view(PROXY, PROXY, FORGED), true), /^! .* does not name clients/));
  test("a proxy that removes X-Forwarded-For is a warning", () =>
    assert.match(line(view(PROXY, PROXY), view(PROXY, PROXY), false), /^! .* does not name clients/));
  test("a forged X-Forwarded-For that is believed is a failure", () => {
    assert.match(
      line(view(PROXY, PROXY), view(FORGED, PROXY, FORGED), true),
      /^✗ .* → Take 10\.0\.0\.2 out of TRUSTED_PROXIES/,
    );
    assert.match(
      line(view(CLIENT, PROXY, CLIENT), view(FORGED, PROXY, `${FORGED}, ${CLIENT}`), true),
      /^✗ .* instead of passing on/,
    );
  });
  test("a forged X-Forwarded-For from a computer in TRUSTED_PROXIES is unknown", () => {
    const appended = [view(CLIENT, PROXY, CLIENT), view(FORGED, PROXY, `${FORGED}, ${CLIENT}`)] as const;
    assert.match(line(...appended, true, [CLIENT]), /^! Could not tell.*203\.0\.113\.9/);
    const direct = [view("127.0.0.1", "127.0.0.1"), view(FORGED, "127.0.0.1", FORGED)] as const;
    assert.match(line(...direct, false, ["127.0.0.1"]), /^! Could not tell/);
    assert.match(line(...direct, true, ["127.0.0.1"]), /^✗/, "https: a proxy of this computer passed it on");
  });
});

describe("doctor: what Redis says", () => {
  const info = (text: string) => parseInfo(text.replaceAll("\n", "\r\n"));
  test("INFO is judged for version, eviction, memory and persistence", () => {
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
