/** HTTPS_PROXY and NO_PROXY: a server whose only way to its identity provider is a forward proxy. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { pino } from "pino";
import { Browser } from "../../dev/client/browser.ts";
import {
  type RunningIdentityProvider,
  startIdentityProvider,
} from "../../dev/identity-provider/identity-provider.ts";
import { storedUsers } from "../../src/access/stored-users.ts";
import { ConfigError, loadConfig } from "../../src/config/config.ts";
import type { Grant } from "../../src/grants/grant.ts";
import { grantFormat } from "../../src/grants/stored-grant.ts";
import { createOidcProvider } from "../../src/identity/oidc/oidc.ts";
import { causes } from "../../src/oauth/errors.ts";
import { openProxiedFetch } from "../../src/runtime/proxied-fetch.ts";
import { systemClock } from "../../src/runtime/runtime.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { redisStore } from "../../src/storage/redis/redis.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import { HOST, type Site, startSite } from "../clients/support.ts";
import { ready } from "../storage/support.ts";
import { builtProgram } from "../support/built-program.ts";
import { type ForwardProxy, startForwardProxy } from "../support/forward-proxy.ts";
import { freePort } from "../support/free-port.ts";
import { authorizeUrl, register } from "../support/oauth-client.ts";
import { ranAsProcess } from "../support/ran.ts";
import { skipWithoutRedisServer, startRedis } from "../support/redis.ts";
import { startServerProcess } from "../support/server-process.ts";
import { signIn } from "../support/sign-in.ts";
import { REDIS_TIMEOUT_MS } from "../support/test-server.ts";

const REDIRECT_URI = "http://localhost:9/auth/callback";
const ENVIRONMENT = {
  BASE_URL: "http://localhost:9",
  STORE: "memory",
  SECRET_KEY: "test-secret-key-with-more-than-32-bytes-0123456789",
  OIDC_ISSUER: "https://idp.example.com",
  OIDC_CLIENT_ID: "proxy",
  OIDC_CLIENT_SECRET: "secret",
};
const providerOptions = {
  port: 0,
  client: { id: "proxy", secret: "secret", redirectUris: [REDIRECT_URI] },
  audience: "https://weather.example.com",
  scopes: ["weather:read"],
  users: [{ subject: "alice", name: "Alice", email: "alice@example.com", permissions: ["weather:read"] }],
};

let proxy: ForwardProxy;
let site: Site;
before(async () => {
  proxy = await startForwardProxy();
  site = await startSite();
});
after(async () => {
  await site.close();
  await proxy.close();
});

describe("a server behind a forward proxy", () => {
  const folder = mkdtempSync(join(tmpdir(), "outgoing-proxy-"));
  let provider: RunningIdentityProvider;
  after(async () => {
    rmSync(folder, { recursive: true });
    await provider.close();
  });

  test("reaches its identity provider, whose name nobody here can look up", async () => {
    provider = await startIdentityProvider({ ...providerOptions, publicUrl: site.url("") });
    // Behind a proxy that ends TLS, as far as this test goes.
    site.answer = async (req, res) => {
      const { href } = new URL(req.url ?? "", `http://localhost:${provider.port}`);
      const document = await (await fetch(href)).text();
      res.end(document.replaceAll(`http://localhost:${provider.port}/`, site.url("/")));
    };
    const ca = join(folder, "ca.pem");
    writeFileSync(ca, site.ca);
    const port = await freePort();
    const server = await startServerProcess({
      ...ENVIRONMENT,
      BASE_URL: `http://localhost:${port}`,
      PORT: String(port),
      LOG_LEVEL: "silent",
      OIDC_ISSUER: site.url(""),
      HTTPS_PROXY: proxy.url.href,
      NODE_EXTRA_CA_CERTS: ca,
    });
    try {
      const browser = new Browser({ stopAt: ({ host }) => host === `${HOST}:${site.port}` });
      const there = await signIn(browser, authorizeUrl(server.url, await register(server.url)));
      assert.equal(there.pathname, "/auth");
      assert.ok(proxy.asked.some(({ url }) => url === `${HOST}:${site.port}`));
    } finally {
      await server.stop();
    }
  });
});

test("the doctor asks by the same way", async () => {
  site.answer = (_req, res) => res.writeHead(404).end();
  proxy.asked.length = 0;
  const env = {
    PATH: process.env.PATH,
    ...ENVIRONMENT,
    OIDC_ISSUER: site.url(""),
    HTTPS_PROXY: proxy.url.href,
  };
  const doctor = spawn(process.execPath, [builtProgram("src/cli/doctor")], { env, cwd: tmpdir() });
  const [said] = await Promise.all([text(doctor.stdout), once(doctor, "exit")]);
  assert.ok(proxy.asked.some(({ url }) => url === `${HOST}:${site.port}`));
  assert.match(said, /certificate/, "which only who reaches the site can say");
});

test("so does the manifest's check", async () => {
  proxy.asked.length = 0;
  const { stdout } = await ranAsProcess("src/cli/manifest", ["--check"], {
    env: { ...ENVIRONMENT, OIDC_ISSUER: site.url(""), HTTPS_PROXY: proxy.url.href },
    cwd: tmpdir(),
  });
  assert.ok(
    proxy.asked.some(({ url }) => url === `${HOST}:${site.port}`),
    stdout,
  );
});

test("so does the operator's command line, which revokes there what it ends", {
  skip: skipWithoutRedisServer(),
}, async (t) => {
  const redis = await startRedis();
  t.after(() => redis.stop());
  const issuer = site.url("");
  const env = { ...ENVIRONMENT, STORE: "redis", REDIS_URL: redis.url, OIDC_ISSUER: issuer };
  const log = pino({ level: "silent" });
  const records = redisStore({
    url: redis.url,
    keyPrefix: "mcp-oidc-proxy",
    commandTimeoutMs: Number(REDIS_TIMEOUT_MS),
    log,
  });
  await ready(records);
  const sealer = createSealer([ENVIRONMENT.SECRET_KEY]);
  const users = storedUsers([{ issuer }]);
  const grants = encryptedStore({ records, sealer, log, kind: "grant", ...grantFormat(users) });
  const now = systemClock();
  const grant: Grant = {
    version: 2,
    id: "of-somebody-0000000001",
    principal: { kind: "user", issuer, subject: "alice", claims: {} },
    client: { id: "client", redirectUri: REDIRECT_URI },
    origin: { kind: "client_credentials", credential: "none" },
    resource: "http://localhost:9/mcp",
    scopes: [],
    renewable: [],
    createdAt: now,
    expiresAt: now + 600,
    familyKey: "key",
    accessTokens: [],
    replaced: [],
    upstream: { accessToken: "theirs", refreshToken: "theirs, too", obtainedAt: now, expiresAt: now + 600 },
  };
  await grants.put(grant.id, grant, 600);
  await records.close();
  proxy.asked.length = 0;
  const { code, stderr } = await ranAsProcess("src/cli/admin", ["grants", "revoke", grant.id, "--yes"], {
    env: { ...env, HTTPS_PROXY: proxy.url.href },
    cwd: tmpdir(),
  });
  assert.ok(
    proxy.asked.some(({ url }) => url === `${HOST}:${site.port}`),
    stderr,
  );
  assert.match(stderr, /Ended 1 grant\./);
  assert.equal(code, 1, "nobody here knows the site's certificate");
});

test("everything that the provider is asked goes the same way", async () => {
  const provider = await startIdentityProvider({
    ...providerOptions,
    behaviour: { accessTokens: "opaque" },
  });
  try {
    const asked: string[] = [];
    const {
      identityProviders: [settings],
    } = loadConfig({ ...ENVIRONMENT, OIDC_ISSUER: provider.issuer });
    const client = createOidcProvider(settings, {
      now: systemClock,
      randomBytes,
      log: pino({ level: "silent" }),
      fetch: (url, options) => {
        asked.push(new URL(url).pathname);
        return fetch(url, options);
      },
    });
    const wanted = { state: "s", nonce: "n", codeVerifier: "v".repeat(43), scopes: ["weather:read"] };
    const login = { redirectUri: REDIRECT_URI, ...wanted };
    const browser = new Browser({ stopAt: ({ href }) => href.startsWith(REDIRECT_URI) });
    const { searchParams } = await signIn(browser, await client.authorizationUrl(login));
    const { tokens } = await client.finishLogin(searchParams, login);
    await client.refresh(tokens.refreshToken ?? "", {
      issuer: provider.issuer,
      subject: "alice",
      renewable: [],
    });
    await client.revoke(tokens.refreshToken ?? "");
    assert.deepEqual([...new Set(asked)].sort(), [
      "/.well-known/openid-configuration",
      "/jwks",
      "/me",
      "/token",
      "/token/revocation",
    ]);
  } finally {
    await provider.close();
  }
});

describe("a request through the proxy", () => {
  const through = (except = "") => openProxiedFetch({ url: proxy.url.href, except });

  test("is a tunnel: TLS is between here and the host, whose certificate is checked", async () => {
    const { fetch, close } = await through();
    proxy.asked.length = 0;
    await assert.rejects(fetch(site.url("/")), (error) => /self.signed/.test(causes(error)));
    assert.deepEqual(
      proxy.asked.map(({ url }) => url),
      [`${HOST}:${site.port}`],
    );
    await close();
  });

  test("says what the proxy refuses", async () => {
    const { fetch, close } = await through();
    proxy.answer = (socket) => socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    await assert.rejects(fetch(site.url("/")), (error) => /407/.test(causes(error)));
    proxy.answer = undefined;
    await close();
  });

  test("is none for the hosts in NO_PROXY, nor for http, which is for this computer alone", async () => {
    const { fetch, close } = await through(`other.example,${HOST}`);
    proxy.asked.length = 0;
    await assert.rejects(fetch(site.url("/")), (error) => /ENOTFOUND|EAI_AGAIN/.test(causes(error)));
    const provider = await startIdentityProvider(providerOptions);
    const response = await fetch(`${provider.issuer}/.well-known/openid-configuration`);
    assert.equal(response.status, 200);
    assert.deepEqual(proxy.asked, []);
    await provider.close();
    await close();
  });
});

describe("the settings", () => {
  const proxyOf = (environment: Record<string, string>) =>
    loadConfig({ ...ENVIRONMENT, ...environment }).outgoingProxy;

  test("are read in either spelling; this computer is never asked through the proxy", () => {
    assert.equal(proxyOf({}), undefined);
    assert.equal(proxyOf({ NO_PROXY: "a" }), undefined);
    const expected = { url: "http://proxy:3128", except: ".internal,localhost,127.0.0.1,::1" };
    assert.deepEqual(proxyOf({ HTTPS_PROXY: "http://proxy:3128", NO_PROXY: ".internal" }), expected);
    assert.deepEqual(proxyOf({ https_proxy: "http://proxy:3128", no_proxy: ".internal" }), expected);
  });

  test("are refused if they name no proxy, and a password is not repeated", () => {
    for (const value of [
      ...["proxy:3128", "socks5://u:p4ssword@proxy:1", "http://u:p4ssword@", "//proxy"],
      "http://u:p4ssword50%@proxy:3128",
    ])
      assert.throws(
        () => proxyOf({ HTTPS_PROXY: value }),
        (error: unknown) =>
          error instanceof ConfigError &&
          /HTTPS_PROXY is no URL of a forward proxy/.test(error.message) &&
          !error.message.includes("p4ssword"),
      );
  });
});
