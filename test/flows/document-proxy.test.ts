/** A server whose only way to the internet is a forward proxy: clients with metadata documents sign in through it. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import type { SafeFetchOptions } from "../../src/clients/metadata-documents/safe-fetch.ts";
import { fetchFrom, HOST, type Site, sendJson, startSite } from "../clients/support.ts";
import { doctorProcess, NOTHING_WORKS, runDoctor } from "../doctor/support.ts";
import { eventually } from "../support/eventually.ts";
import { type ForwardProxy, startForwardProxy } from "../support/forward-proxy.ts";
import { freePort } from "../support/free-port.ts";
import {
  authorize,
  authorizeUrl,
  newBrowser,
  postForm,
  REDIRECT_URI,
  redeem,
  VERIFIER,
} from "../support/oauth-client.ts";
import { startServerHere } from "../support/server-here.ts";
import {
  SECRET_KEY,
  startTestServer,
  type TestServer,
  type TestServerOptions,
} from "../support/test-server.ts";

const PROBE = "https://claude.example.com/known.json";

describe("CLIENT_ID_METADATA_PROXY", () => {
  let site: Site;
  let proxy: ForwardProxy;
  before(async () => {
    proxy = await startForwardProxy();
    site = await startSite();
  });
  after(async () => {
    await site.close();
    await proxy.close();
  });
  beforeEach(() => {
    proxy.asked.length = 0;
    site.requests.length = 0;
  });

  const askedFor = () => proxy.asked.map(({ url }) => url);
  const publish = (documents: Record<string, object>) => {
    site.answer = (req, res) => sendJson(res, documents[req.url ?? ""] ?? {});
  };
  const described = (path: string) => ({
    client_id: site.url(path),
    client_name: "Document client",
    redirect_uris: [REDIRECT_URI],
  });
  async function withTestServer(
    options: TestServerOptions,
    story: (testServer: TestServer) => Promise<void>,
  ) {
    const testServer = await startTestServer(options);
    try {
      await story(testServer);
    } finally {
      await testServer.close();
    }
  }
  /** The network of a test: the site's certificate is trusted, its port allowed, and no name can be looked up here. */
  const cutOff = (options?: SafeFetchOptions) =>
    fetchFrom(site.ca, { ...options, lookup: () => Promise.reject(new Error("no name server here")) });
  const environment = () => ({ CLIENT_ID_METADATA_PROXY: proxy.url.href });

  test("a client signs in whose document and keys come through the proxy", () =>
    withTestServer({ safeFetch: cutOff, environment: environment() }, async (testServer) => {
      const { privateKey, publicKey } = await generateKeyPair("ES256");
      const client = {
        ...described("/client.json"),
        token_endpoint_auth_method: "private_key_jwt",
        jwks_uri: site.url("/keys.json"),
      };
      const keys = { keys: [{ ...(await exportJWK(publicKey)), kid: "1", alg: "ES256" }] };
      publish({ "/client.json": client, "/keys.json": keys });
      const code = (await authorize(testServer.baseUrl, client)).get("code") ?? "";
      const client_assertion = await new SignJWT({ jti: "once" })
        .setProtectedHeader({ alg: "ES256", kid: "1" })
        .setIssuer(client.client_id)
        .setSubject(client.client_id)
        .setAudience(testServer.baseUrl)
        .setIssuedAt()
        .setExpirationTime("2m")
        .sign(privateKey);
      const { status } = await postForm(`${testServer.baseUrl}/token`, {
        grant_type: "authorization_code",
        code,
        code_verifier: VERIFIER,
        client_assertion,
        client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
      });
      assert.equal(status, 200);
      assert.deepEqual(
        site.requests.map(({ url }) => url),
        ["/client.json", "/keys.json"],
      );
      assert.deepEqual(
        askedFor(),
        Array(2).fill(`${HOST}:${site.port}`),
        "the provider is not asked through it",
      );
    }));

  test("a literal address inside, or a name of one, is refused, and the proxy is not asked", () =>
    // As production fetches.
    withTestServer({ environment: environment() }, async (testServer) => {
      for (const host of ["127.0.0.1", "169.254.169.254", "[fd00::1]", "metadata.google.internal", "redis"]) {
        const page = await newBrowser().get(
          authorizeUrl(testServer.baseUrl, { client_id: `https://${host}/client.json` }),
        );
        assert.equal(page.status, 400, host);
        assert.match(page.body, /its host cannot be reached on the public internet/);
        assert.ok(
          testServer.log.some(
            ({ reason, clientId }) => reason === "address_refused" && clientId?.toString().includes(host),
          ),
        );
      }
      assert.deepEqual(askedFor(), []);
    }));

  test("without the setting the proxy of the environment is not used for documents", async () => {
    const variables = { HTTPS_PROXY: proxy.url.href, https_proxy: proxy.url.href, ALL_PROXY: proxy.url.href };
    Object.assign(process.env, variables, { NODE_USE_ENV_PROXY: "1" });
    try {
      await withTestServer({ safeFetch: (options) => fetchFrom(site.ca, options) }, async (testServer) => {
        publish({ "/client.json": described("/client.json") });
        const code = (await authorize(testServer.baseUrl, described("/client.json"))).get("code");
        assert.equal((await redeem(testServer.baseUrl, described("/client.json"), code)).status, 200);
      });
    } finally {
      for (const name of [...Object.keys(variables), "NODE_USE_ENV_PROXY"]) delete process.env[name];
    }
    assert.ok(site.requests.length > 0);
    assert.deepEqual(askedFor(), []);
  });

  const withPassword = () =>
    Object.assign(new URL(proxy.url), { username: "server", password: "secret-of-the-proxy" }).href;

  test("a server tries the known document through it, with name and password", async () => {
    const port = await freePort();
    const server = await startServerHere({
      PORT: String(port),
      BASE_URL: `http://localhost:${port}`,
      SECRET_KEY,
      STORE: "memory",
      OIDC_ISSUER: "http://localhost:2",
      OIDC_CLIENT_ID: "proxy",
      OIDC_CLIENT_SECRET: "proxy-secret",
      LOG_LEVEL: "silent",
      CLIENT_ID_METADATA: "auto",
      CLIENT_ID_METADATA_PROBE: PROBE,
      CLIENT_ID_METADATA_PROXY: withPassword(),
    });
    try {
      await eventually("the proxy was asked for the known document", () => proxy.asked.length > 0);
      assert.equal(askedFor()[0], "claude.example.com:443");
      assert.match(proxy.asked[0]?.headers["proxy-authorization"] ?? "", /^Basic /);
    } finally {
      await server.stop();
    }
  });

  test("the doctor tries it the same way, and names the proxy without its password", async () => {
    proxy.answer = (socket) => socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    try {
      const { stdout } = await runDoctor({
        ...NOTHING_WORKS,
        CLIENT_ID_METADATA: "auto",
        CLIENT_ID_METADATA_PROBE: PROBE,
        CLIENT_ID_METADATA_PROXY: withPassword(),
      });
      assert.match(
        stdout.replaceAll(/\s+/g, " "),
        /cannot be fetched from here through the proxy 127\.0\.0\.1:\d+: the one at claude\.example\.com: .*HTTP status 407/,
      );
      assert.doesNotMatch(stdout, /secret-of-the-proxy/);
      assert.equal(askedFor()[0], "claude.example.com:443");
    } finally {
      proxy.answer = undefined;
    }
  });

  test("nor does the doctor use that of the environment", async () => {
    const { stdout } = await doctorProcess({
      ...NOTHING_WORKS,
      HTTPS_PROXY: proxy.url.href,
      https_proxy: proxy.url.href,
      NODE_USE_ENV_PROXY: "1",
      CLIENT_ID_METADATA: "auto",
      // A name that nobody has (RFC 6761 §6.4): nothing leaves this computer.
      CLIENT_ID_METADATA_PROBE: "https://nowhere.invalid/known.json",
    });
    assert.match(stdout.replaceAll(/\s+/g, " "), /cannot be fetched from here: the one at nowhere\.invalid/);
    assert.ok(!askedFor().includes("nowhere.invalid:443"));
  });
});
