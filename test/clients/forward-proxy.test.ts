/** Fetching from where a stranger says, through a forward proxy: what is refused before it is asked, and what it cannot change. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { isInsideName } from "../../src/clients/metadata-documents/forward-proxy.ts";
import {
  createSafeFetch,
  SafeFetchError,
  type SafeFetchOptions,
} from "../../src/clients/metadata-documents/safe-fetch.ts";
import { causes } from "../../src/oauth/errors.ts";
import { eventually } from "../support/eventually.ts";
import { type ForwardProxy, startForwardProxy } from "../support/forward-proxy.ts";
import { fetchFrom, HOST, type Site, sendJson, startSite } from "./support.ts";

describe("through a forward proxy", () => {
  let site: Site;
  let proxy: ForwardProxy;
  before(async () => {
    site = await startSite();
    proxy = await startForwardProxy();
  });
  after(async () => {
    await proxy.close();
    await site.close();
  });
  beforeEach(() => {
    site.answer = (_req, res) => sendJson(res, { hello: "world" });
    site.requests.length = 0;
    proxy.asked.length = 0;
    proxy.answer = undefined;
  });

  const noLookup = () => assert.fail("the name was looked up here");
  const fetchThrough = (options: SafeFetchOptions = {}) =>
    fetchFrom(site.ca, { proxy: proxy.url, lookup: noLookup, ...options });
  async function refused(promise: Promise<unknown>, reason: string): Promise<SafeFetchError> {
    const error = await promise.then(
      () => assert.fail("it was fetched"),
      (thrown) => thrown,
    );
    assert.ok(error instanceof SafeFetchError, String(error));
    assert.equal(error.reason, reason, causes(error));
    return error;
  }
  const isIdle = () => eventually("the tunnel is closed", () => proxy.open() === 0);

  test("a document is fetched: the proxy is asked for the host, and looks the name up", async () => {
    const { status, body } = await fetchThrough()(new URL(site.url("/client.json?x=1")));
    assert.deepEqual([status, JSON.parse(body)], [200, { hello: "world" }]);
    const [asked] = proxy.asked;
    assert.equal(asked?.url, `${HOST}:${site.port}`);
    assert.equal(asked?.headers["proxy-authorization"], undefined);
    const [request] = site.requests;
    assert.deepEqual([request?.url, request?.headers.host], ["/client.json?x=1", `${HOST}:${site.port}`]);
    assert.equal(request?.headers.connection, "close");
    await isIdle();
  });

  test("with a name and a password, which are shown nowhere", async () => {
    const url = new URL(proxy.url);
    Object.assign(url, { username: "server", password: "p%40ss:w%C3%B6rd" });
    await fetchThrough({ proxy: url })(new URL(site.url("/")));
    const sent = proxy.asked[0]?.headers["proxy-authorization"] ?? "";
    assert.equal(Buffer.from(sent.replace("Basic ", ""), "base64").toString(), "server:p@ss:wörd");
    proxy.answer = (socket) => socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    const error = await refused(fetchThrough({ proxy: url })(new URL(site.url("/"))), "unreachable");
    assert.match(causes(error), /the proxy 127\.0\.0\.1:\d+ answered CONNECT with HTTP status 407/);
    assert.doesNotMatch(causes(error), /p%40ss|p@ss/);
    assert.equal(error.message, "its host cannot be reached on the public internet");
    await isIdle();
  });

  test("none of the environment is used, only the one that is given", async () => {
    const names = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
    const variables = {
      ...Object.fromEntries(names.map((name) => [name, proxy.url.href])),
      NODE_USE_ENV_PROXY: "1",
    };
    Object.assign(process.env, variables);
    try {
      assert.equal((await fetchFrom(site.ca)(new URL(site.url("/")))).status, 200);
      assert.equal(proxy.asked.length, 0);
    } finally {
      for (const name of Object.keys(variables)) delete process.env[name];
    }
  });

  const INSIDE = [
    ...[
      "127.0.0.1",
      "0x7f000001",
      "127.1",
      "10.0.0.1",
      "169.254.169.254",
      "192.168.1.1",
      "[::1]",
      "[fd00::1]",
    ],
    ...[
      "[::ffff:127.0.0.1]",
      "[64:ff9b::7f00:1]",
      "localhost",
      "localhost.",
      "a.localhost",
      "LOCALHOST",
      "redis",
    ],
    ...[
      "redis.",
      "metadata.google.internal",
      "printer.local",
      "wiki.corp",
      "router.home.arpa",
      "nas.lan",
      "a.test",
    ],
    ...["4.0.41.198.in-addr.arpa", "x.onion"],
  ];
  for (const host of INSIDE)
    test(`an address inside, or a name of one, is refused before the proxy is asked: ${host}`, async () => {
      const fetch = createSafeFetch({ proxy: proxy.url, ca: site.ca, ports: "any" });
      const error = await refused(fetch(new URL(`https://${host}:${site.port}/`)), "address_refused");
      assert.equal(error.message, "its host cannot be reached on the public internet");
      assert.equal(proxy.asked.length, 0);
    });
  for (const host of [
    "claude.ai",
    "internal.example.com",
    "localhost.example.com",
    "corp.example.com.",
    "8.8.8.8",
  ])
    test(`${host} is not one of those`, () => assert.equal(isInsideName(host), false));

  test("https and port 443 alone", async () => {
    const fetch = createSafeFetch({ proxy: proxy.url, ca: site.ca });
    await refused(fetch(new URL(site.url("/"))), "port_refused");
    await refused(fetch(new URL(`http://${HOST}/`)), "not_https");
    assert.equal(proxy.asked.length, 0);
    proxy.answer = (socket) => socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
    await refused(fetch(new URL(`https://${HOST}/`)), "unreachable");
    assert.equal(proxy.asked[0]?.url, `${HOST}:443`);
  });

  test("the certificate is checked here: a proxy that leads elsewhere, or opens TLS, is not believed", async () => {
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
    try {
      await refused(fetchThrough()(new URL(`https://other.example.com:${site.port}/`)), "unreachable");
      const untrusting = createSafeFetch({ proxy: proxy.url, ports: "any" });
      await refused(untrusting(new URL(site.url("/"))), "unreachable");
      assert.equal(site.requests.length, 0);
      await isIdle();
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    }
  });

  test("an answer that is too large, or a redirect, is refused as ever", async () => {
    site.answer = (_req, res) => sendJson(res, "x".repeat(5_120));
    await refused(fetchThrough()(new URL(site.url("/"))), "too_large");
    site.answer = (_req, res) => res.writeHead(302, { location: "https://elsewhere.example.com/" }).end();
    await refused(fetchThrough()(new URL(site.url("/"))), "redirected");
    await isIdle();
  });

  test("one limit of time for all of it: the proxy, TLS, the answer; nothing stays open", async () => {
    const slow: Array<[string, () => void]> = [
      [
        "a proxy that never answers",
        () => {
          proxy.answer = () => {};
        },
      ],
      [
        "a tunnel that leads nowhere",
        () => {
          proxy.answer = (socket) => void socket.write("HTTP/1.1 200 OK\r\n\r\n");
        },
      ],
      [
        "a site that never answers",
        () => {
          site.answer = () => {};
        },
      ],
    ];
    for (const [, arrange] of slow) {
      proxy.answer = undefined;
      arrange();
      await refused(fetchThrough({ timeoutMs: 300 })(new URL(site.url("/"))), "timed_out");
      await isIdle();
    }
  });

  test("a proxy that is not there, that answers nonsense, endless headers or more than its answer", async () => {
    const nowhere = new URL("http://127.0.0.1:9");
    await refused(fetchThrough({ proxy: nowhere })(new URL(site.url("/"))), "unreachable");
    const answers: Array<[string, string]> = [
      ["SSH-2.0-OpenSSH_9.9\r\n", "unreachable"],
      ["HTTP/1.1 502 Bad Gateway\r\n\r\n<html>", "unreachable"],
      ["HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}", "unreachable"],
      [`HTTP/1.1 200 OK\r\nX: ${"x".repeat(9_000)}\r\n\r\n`, "too_large"],
    ];
    for (const [bytes, reason] of answers) {
      proxy.answer = (socket) => void socket.write(bytes);
      await refused(fetchThrough()(new URL(site.url("/"))), reason);
      await isIdle();
    }
  });
});
