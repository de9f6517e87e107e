/** The doctor and a real identity provider with several kinds of behaviour, and the mistakes of operators. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, test } from "node:test";
import type { JWK } from "jose";
import {
  type ProviderBehaviour,
  type RunningIdentityProvider,
  startIdentityProvider,
} from "../../dev/identity-provider/identity-provider.ts";
import { systemClock } from "../../src/runtime/runtime.ts";
import { sendJson, startSite } from "../clients/support.ts";
import { AUDIENCE, CLIENT_SECRET, listen, listenSilently, look, NOTHING_WORKS } from "./support.ts";

const BASE_URL = "http://localhost:1";
const closing: Array<{ close(): Promise<void> }> = [];
after(() => Promise.all(closing.map((each) => each.close())));

async function provider(behaviour: ProviderBehaviour = {}): Promise<RunningIdentityProvider> {
  const started = await startIdentityProvider({
    port: 0,
    client: { id: "proxy", secret: CLIENT_SECRET, redirectUris: [`${BASE_URL}/auth/callback`] },
    audience: AUDIENCE,
    scopes: ["weather:read"],
    users: [],
    behaviour: { advertisesApiScopes: true, ...behaviour },
  });
  closing.push(started);
  return started;
}

/** Somebody else in the place of a provider. */
async function impostor(answer: Parameters<typeof listen>[0]): Promise<string> {
  const server = await listen(answer);
  closing.push(server);
  return `http://localhost:${server.port}`;
}

/** A good provider's document, with some of its endpoints elsewhere: at whoever answers here. */
async function actingFor(
  good: RunningIdentityProvider,
  endpoints: Record<string, string>,
  answer: Parameters<typeof listen>[0],
): Promise<string> {
  return impostor(async (req, res) => {
    if (!req.url?.startsWith("/.well-known/")) return answer(req, res);
    const self = `http://${req.headers.host}`;
    const document = (await (
      await fetch(`${good.issuer}/.well-known/openid-configuration`)
    ).json()) as object;
    const moved = Object.entries(endpoints).map(([name, path]) => [name, self + path]);
    res.end(JSON.stringify({ ...document, issuer: self, ...Object.fromEntries(moved) }));
  });
}

const looking = (issuer: string, more: Record<string, string> = {}) =>
  look({ ...NOTHING_WORKS, BASE_URL, OIDC_ISSUER: issuer, OIDC_AUDIENCE: AUDIENCE, ...more });

const mine = (findings: Array<{ check: string; status: string }>) =>
  findings.filter(({ check }) => check.startsWith("provider."));

describe("doctor: the identity provider", () => {
  test("every check is in order where everything is right", async () => {
    for (const behaviour of [
      {},
      { trailingSlashIssuer: true },
      { accessTokens: "jwt" },
    ] satisfies ProviderBehaviour[]) {
      const { findings } = await looking((await provider(behaviour)).issuer);
      assert.deepEqual(
        mine(findings).filter(({ status }) => status !== "ok"),
        [],
      );
      for (const check of ["issuer", "keys", "credentials", "redirect_uri", "audience", "clock"])
        assert.ok(
          findings.some((each) => each.check === `provider.${check}`),
          check,
        );
    }
  });

  test("a wrong client secret is a failure that names the client id as known", async () => {
    const { issuer } = await provider();
    const { line } = await looking(issuer, { OIDC_CLIENT_SECRET: "another-secret-altogether" });
    assert.match(
      line("provider.credentials"),
      /^✗ .*does not accept the client id and secret .*; the client id proxy and the callback URL are known there → Copy both anew/,
    );
    assert.match(line("provider.redirect_uri"), /^✓/, "which needs no secret");
  });

  test("a private key is in order if the provider has its public key, and a failure if it has another", async () => {
    const started = await provider();
    const keys = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const key = keys.privateKey.export({ format: "pem", type: "pkcs8" }).toString();
    const looked = () => looking(started.issuer, { OIDC_CLIENT_SECRET: "", OIDC_PRIVATE_KEY: key });
    started.changeClient({ jwks: [{ ...keys.publicKey.export({ format: "jwk" }), use: "sig" } as JWK] });
    assert.match(
      (await looked()).line("provider.credentials"),
      /^✓ .*client id and assertion, sent as private_key_jwt \(and refuses a made-up assertion\)/,
    );
    const other = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey;
    started.changeClient({ jwks: [{ ...other.export({ format: "jwk" }), use: "sig" } as JWK] });
    assert.match(
      (await looked()).line("provider.credentials"),
      /^✗ .*does not accept the client id and assertion .* → Check the client id, and that the application/,
    );
  });

  test("a secret file with two secrets is in order if the provider takes the second", async () => {
    const { issuer } = await provider();
    const file = join(mkdtempSync(join(tmpdir(), "doctor-secret-")), "secret");
    writeFileSync(file, `a-secret-that-is-not-there-yet\n${CLIENT_SECRET}\n`);
    closing.push({ close: async () => rmSync(dirname(file), { recursive: true }) });
    const { line } = await looking(issuer, { OIDC_CLIENT_SECRET: "", OIDC_CLIENT_SECRET_FILE: file });
    assert.match(line("provider.credentials"), /^✓/);
  });

  test("a wrong client id is one failure", async () => {
    const { issuer } = await provider();
    const { line, findings } = await looking(issuer, { OIDC_CLIENT_ID: "prxoy" });
    assert.match(
      line("provider.credentials"),
      /^✗ The provider does not know the client id prxoy → .*OIDC_CLIENT_ID/,
    );
    assert.deepEqual(
      mine(findings)
        .filter(({ status }) => status !== "ok")
        .map(({ check }) => check),
      ["provider.credentials"],
    );
  });

  test("an unregistered callback URL is a failure that names the exact URL", async () => {
    const { issuer } = await provider();
    const { line } = await looking(issuer, { BASE_URL: "http://localhost:1/tools" });
    assert.match(
      line("provider.redirect_uri"),
      /^✗ The callback URL is not registered .*: http:\/\/localhost:1\/tools\/auth\/callback$/,
    );
    assert.match(line("provider.credentials"), /^✓/);
  });

  test("an audience that the provider does not know is a failure", async () => {
    const { issuer } = await provider();
    const { line } = await looking(issuer, { OIDC_AUDIENCE: "https://wether.example.com" });
    assert.match(line("provider.audience"), /^✗ The provider knows no API https:\/\/wether\.example\.com/);
    assert.match(line("provider.redirect_uri"), /^✓/);
  });

  test("a scope that the provider refuses is a failure", async () => {
    const { issuer } = await provider({ unknownScopes: "refused" });
    const { line } = await looking(issuer, { OIDC_SCOPES: "openid wether:raed" });
    assert.match(
      line("provider.sign_in"),
      /^✗ The provider refuses this server's sign-ins \(invalid_scope.*→ Add the scopes/,
    );
  });

  test("tools' scopes that discovery does not list are a warning, unless OIDC_SCOPES names them", async () => {
    const { issuer } = await provider({ advertisesApiScopes: false });
    const { line } = await looking(issuer);
    assert.match(
      line("provider.scopes"),
      /^! It does not list these scopes of the tools, and OIDC_SCOPES .*: weather:read\. No sign-in asks .*SCOPES_FROM/,
    );
    const isFine = { OIDC_SCOPES: "openid profile email weather:read" };
    const inLongForm = { OIDC_SCOPES: "openid api://3f8c2a40/weather:read" };
    for (const settings of [isFine, inLongForm, { OIDC_SCOPES: "openid api://3f8c2a40/.default" }]) {
      const { findings } = await looking(issuer, settings);
      assert.ok(!findings.some(({ check }) => check === "provider.scopes"), settings.OIDC_SCOPES);
    }
  });

  test("a slash that is missing after the host of the issuer is a warning", async () => {
    const { issuer } = await provider({ trailingSlashIssuer: true });
    const { line } = await looking(issuer.slice(0, -1));
    assert.match(line("provider.issuer"), /^! .*so sign-ins work → Set OIDC_ISSUER=.*\/$/);
    assert.match(line("provider.redirect_uri"), /^✓/, "of a bare host both mean the same");
  });

  test("another issuer's discovery document is a failure, and the client secret is not sent there", async () => {
    const posted: string[] = [];
    const url = await impostor((req, res) => {
      if (req.method === "POST") posted.push(req.url ?? "");
      res.setHeader("content-type", "application/json");
      res.end(
        JSON.stringify({
          issuer: "http://localhost:5/other",
          token_endpoint: `http://${req.headers.host}/token`,
        }),
      );
    });
    const { line } = await looking(url);
    assert.match(
      line("provider.issuer"),
      /^✗ Its issuer is http:\/\/localhost:5\/other.*→ Set OIDC_ISSUER=http:\/\/localhost:5\/other$/,
    );
    assert.throws(() => line("provider.credentials"));
    assert.deepEqual(posted, []);
  });

  test("a web page in place of the discovery document is a failure that quotes its title", async () => {
    const url = await impostor((_req, res) =>
      res.setHeader("content-type", "text/html").end("<html><title>Sign in to Example</title></html>"),
    );
    const { line } = await looking(url);
    assert.match(
      line("provider.discovery"),
      /^✗ There is no discovery document .*web page \("Sign in to Example"\).*→ Set OIDC_ISSUER/,
    );
  });

  test("HTTP 404 and 503 in place of the discovery document are failures with different remedies", async () => {
    const answering = (status: number) => impostor((_req, res) => res.writeHead(status).end());
    assert.match((await looking(await answering(404))).line("provider.discovery"), /^✗ .*HTTP 404/);
    assert.match(
      (await looking(await answering(503))).line("provider.discovery"),
      /^✗ .*HTTP 503.*own status and log/,
    );
  });

  test("a redirected discovery document is a failure that names the issuer found there", async () => {
    const good = await provider();
    const movedTo = (location: string) => impostor((_req, res) => res.writeHead(301, { location }).end("{}"));
    const line = async (location: string) =>
      (await looking(await movedTo(location))).line("provider.discovery");
    const moved = await line(`${good.issuer}/.well-known/openid-configuration?token=1`);
    assert.match(moved, /^✗ .*HTTP 301, a redirection to http:\/\/localhost:\d+\/\.well-known/);
    assert.ok(moved.endsWith(`set OIDC_ISSUER=${good.issuer}`), moved);
    assert.ok(!moved.includes("token=1"));
    assert.match(
      await line("http://localhost:2/x"),
      /redirection to http:\/\/localhost:2\/x → Set OIDC_ISSUER to/,
    );
    assert.match(await line("javascript:alert(1)"), /→ Set OIDC_ISSUER to/);
  });

  test("endpoints on http of an https provider are one failure, and no secret is sent there", async () => {
    // The certificate is nobody's; only what the document says is looked at here.
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
    const posted: string[] = [];
    const site = await startSite((req, res) => {
      if (req.method === "POST") posted.push(req.url ?? "");
      const [issuer, plain] = [`https://localhost:${site.port}`, `http://localhost:${site.port}`];
      sendJson(res, {
        ...{ issuer, authorization_endpoint: `${issuer}/auth`, response_types_supported: ["code"] },
        ...{ token_endpoint: `${plain}/token`, jwks_uri: `${plain}/keys` },
      });
    });
    try {
      const { line, findings } = await looking(`https://localhost:${site.port}`);
      assert.match(
        line("provider.discovery"),
        /^✗ .*\/token" as its token_endpoint, .*\/keys" as its jwks_uri: each has to be an https URL → .*proxy/,
      );
      assert.equal(mine(findings).filter(({ status }) => status === "failure").length, 1);
      assert.deepEqual(posted, []);
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
      await site.close();
    }
  });

  test("refresh tokens are in order at a provider that lists neither their grant type nor offline_access", async () => {
    const good = await provider({ refreshTokens: "with-access-type" });
    const issuer = await impostor(async (req, res) => {
      const document = (await (
        await fetch(`${good.issuer}/.well-known/openid-configuration`)
      ).json()) as object;
      const others = { issuer: `http://${req.headers.host}`, grant_types_supported: ["authorization_code"] };
      res.setHeader("content-type", "application/json").end(JSON.stringify({ ...document, ...others }));
    });
    const { line, findings } = await looking(issuer);
    assert.match(
      line("provider.refresh"),
      /^✓ .*takes refresh tokens .*does not ask for the scope offline_access/,
    );
    assert.deepEqual(
      mine(findings).filter(({ status }) => status !== "ok"),
      [],
    );
  });

  test("a provider that is not there, is on a blocked port or never answers is a failure", async () => {
    assert.match(
      (await looking("http://localhost:2")).line("provider.discovery"),
      /^✗ .*nothing listens at localhost:2/,
    );
    assert.match(
      (await looking("http://localhost:6667")).line("provider.discovery"),
      /^✗ .*port that browsers/,
    );
    const silent = await listenSilently();
    closing.push(silent);
    const { line } = await looking(`http://localhost:${silent.port}`, { UPSTREAM_TIMEOUT_SECONDS: "1" });
    assert.match(line("provider.discovery"), /^✗ .*did not answer within 1 s.*firewall/);
  });

  test("a token endpoint that never answers leaves the credentials unknown, and the keys are still checked", async () => {
    const good = await provider();
    const issuer = await actingFor(good, { token_endpoint: "/token" }, () => {});
    const patience = { answerMs: 5_000, checkMs: 500 };
    const { line } = await look({ ...NOTHING_WORKS, BASE_URL, OIDC_ISSUER: issuer }, { patience });
    assert.match(line("provider.credentials"), /^! This check did not end within 0\.5 s and was given up/);
    assert.match(line("provider.keys"), /^✓/);
  });

  test("keys that cannot be read or used are a failure", async () => {
    const good = await provider();
    const withKeys = (keys: unknown) =>
      actingFor(good, { jwks_uri: "/keys" }, (_req, res) =>
        res.end(typeof keys === "string" ? keys : JSON.stringify({ keys })),
      );
    const line = async (keys: unknown) => (await looking(await withKeys(keys))).line("provider.keys");
    assert.match(await line("<html>"), /^✗ Its keys cannot be read: there is no key set/);
    assert.match(await line([]), /^✗ Its keys at .* cannot be used: none of 0 /);
    assert.match(
      await line([{ kty: "oct", k: "AAAA" }, { kty: "RSA", use: "enc", n: "x", e: "AQAB" }, null]),
      /^✗ Its keys at .* cannot be used: none of 3 /,
    );
  });

  test("a token endpoint that answers a made-up secret alike leaves the credentials unknown", async () => {
    const good = await provider();
    const alike = (status: number, body: string) =>
      actingFor(good, { token_endpoint: "/token" }, (_req, res) => res.writeHead(status).end(body));
    const line = async (status: number, body: string) =>
      (await looking(await alike(status, body))).line("provider.credentials");
    // Entra, and an application without a secret.
    assert.match(
      await line(400, '{"error":"invalid_grant"}'),
      /^! Could not tell whether the client secret is right/,
    );
    assert.match(await line(502, "<title>Bad gateway</title>"), /^! Could not tell.*Bad gateway/);
    assert.match(await line(429, ""), /^! Could not tell.*429/);
    assert.match(await line(200, '{"access_token":"x"}'), /^! Could not tell/);
    assert.match(await line(401, ""), /^✗/);
  });

  test("a provider that takes the secret in the header only is in order", async () => {
    for (const advertisesClientAuthentication of [true, false]) {
      const { issuer } = await provider({ clientAuthentication: "basic", advertisesClientAuthentication });
      const { line, findings } = await looking(issuer);
      assert.match(line("provider.credentials"), /^✓ .*sent as client_secret_basic/);
      assert.deepEqual(
        mine(findings).filter(({ status }) => status !== "ok"),
        [],
      );
    }
  });

  test("a secret that is sent in a way that the provider does not take is a failure that names the setting", async () => {
    const { issuer } = await provider({ clientAuthentication: "post" });
    const { line, findings } = await looking(issuer, {
      OIDC_TOKEN_ENDPOINT_AUTH_METHOD: "client_secret_basic",
    });
    assert.match(
      line("provider.credentials"),
      /^✗ The client secret is right, but .*→ Set OIDC_TOKEN_ENDPOINT_AUTH_METHOD=client_secret_post\./,
    );
    assert.equal(mine(findings).filter(({ status }) => status !== "ok").length, 1, "one cause, one finding");
  });

  test("a clock that is ten minutes ahead is a failure", async () => {
    const { issuer } = await provider();
    const later = await look(
      { ...NOTHING_WORKS, BASE_URL, OIDC_ISSUER: issuer },
      { now: () => systemClock() + 600 },
    );
    assert.match(
      later.line("provider.clock"),
      /^✗ This computer's clock is (599|600|601) s ahead of the provider's.*NTP/,
    );
  });
});
