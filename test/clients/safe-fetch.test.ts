/** Fetching from where a stranger says: what must not be reached, and what must not be read. */
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import {
  type Address,
  createSafeFetch,
  isGlobalUnicast,
  SafeFetchError,
  type SafeFetchOptions,
} from "../../src/clients/metadata-documents/safe-fetch.ts";
import { fetchFrom, HOST, type Site, sendJson, startRawSite, startSite } from "./support.ts";

let site: Site;
before(async () => {
  site = await startSite();
});
after(() => site.close());
beforeEach(() => {
  site.answer = (_req, res) => sendJson(res, { hello: "world" });
  site.requests.length = 0;
  site.connections.length = 0;
});

const fetchHere = (options: SafeFetchOptions = {}) => fetchFrom(site.ca, options);

async function refused(promise: Promise<unknown>, reason: string): Promise<SafeFetchError> {
  const error = await promise.then(
    () => assert.fail("it was fetched"),
    (thrown) => thrown,
  );
  assert.ok(error instanceof SafeFetchError, String(error));
  assert.equal(error.reason, reason);
  assert.doesNotMatch(
    error.message,
    /\d+\.\d+\.\d+|::|E[A-Z]{4,}/,
    "the text names no address and no system error",
  );
  return error;
}

test("a JSON document is fetched, without cookies, over a connection of its own", async () => {
  site.answer = (_req, res) => sendJson(res, { hello: "world" }, { "set-cookie": "a=b", etag: '"1"' });
  const fetch = fetchHere();
  await fetch(new URL(site.url("/client.json?x=1")));
  const { status, headers, body } = await fetch(new URL(site.url("/client.json?x=1")));
  assert.deepEqual([status, headers.get("etag"), JSON.parse(body)], [200, '"1"', { hello: "world" }]);
  const [, second] = site.requests;
  assert.equal(second?.url, "/client.json?x=1");
  assert.equal(second?.headers.host, `${HOST}:${site.port}`);
  assert.equal(second?.headers.cookie, undefined);
  assert.equal(second?.headers.connection, "close");
  assert.equal(site.connections.length, 2);
});

describe("addresses", () => {
  const table: Record<string, boolean> = {
    "8.8.8.8": true,
    "93.184.215.14": true,
    "2606:4700:4700::1111": true,
    "2a00:1450:4001:80b::200e": true,
    "0.0.0.0": false,
    "0.1.2.3": false,
    "10.0.0.1": false,
    "100.64.0.1": false,
    "100.127.255.255": false,
    "127.0.0.1": false,
    "127.255.255.254": false,
    "169.254.169.254": false,
    "172.16.0.1": false,
    "172.31.255.255": false,
    "192.0.0.1": false,
    "192.0.0.170": false,
    "192.0.2.1": false,
    "192.88.99.1": false,
    "192.168.1.1": false,
    "198.18.0.1": false,
    "198.19.255.255": false,
    "198.51.100.1": false,
    "203.0.113.1": false,
    "224.0.0.1": false,
    "240.0.0.1": false,
    "255.255.255.255": false,
    "::": false,
    "::1": false,
    "::7f00:1": false,
    "::808:808": false,
    "::ffff:127.0.0.1": false,
    "::ffff:a9fe:a9fe": false,
    "::ffff:8.8.8.8": false,
    "::ffff:0:127.0.0.1": false,
    "64:ff9b::7f00:1": false,
    "64:ff9b::808:808": false,
    "64:ff9b:1::1": false,
    "100::1": false,
    "2001::1": false,
    "2001:2::1": false,
    "2001:10::1": false,
    "2001:20::1": false,
    "2001:db8::1": false,
    "2002:7f00:1::1": false,
    "2002:808:808::1": false,
    "3fff::1": false,
    "4000::1": false,
    "5f00::1": false,
    "fc00::1": false,
    "fd00::1": false,
    "fd00:ec2::254": false,
    "fe80::1": false,
    "fe80::1%eth0": false,
    "fec0::1": false,
    "ff02::1": false,
    localhost: false,
    "010.0.0.1": false,
    "0x7f.1": false,
    "": false,
  };
  for (const [address, allowed] of Object.entries(table))
    test(`${address || "(empty)"} ${allowed ? "may" : "may not"} be reached`, () => {
      assert.equal(isGlobalUnicast(address), allowed);
    });

  for (const host of [
    "127.0.0.1",
    "0x7f000001",
    "2130706433",
    "127.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "0.0.0.0",
  ])
    test(`written in the URL as ${host}: refused, nothing connects`, async () => {
      const fetch = createSafeFetch({ ports: "any", ca: site.ca });
      const error = await refused(fetch(new URL(`https://${host}:${site.port}/`)), "address_refused");
      assert.equal(error.message, "its host cannot be reached on the public internet");
      assert.equal(site.connections.length, 0);
    });

  test("a name of a refused address: refused, nothing connects", async () => {
    const fetch = createSafeFetch({
      ports: "any",
      ca: site.ca,
      lookup: async () => [{ address: "127.0.0.1", family: 4 }],
    });
    await refused(fetch(new URL(site.url("/"))), "address_refused");
    assert.equal(site.connections.length, 0);
  });

  test("DNS that answers public first and private after: the address that was checked is the one connected to", async () => {
    const answers: Address[] = [
      { address: "127.0.0.2", family: 4 },
      { address: "127.0.0.1", family: 4 },
    ];
    let asked = 0;
    const lookup = async () => [answers[Math.min(asked++, 1)] as Address];
    const isAllowedAddress = (address: string) => address === "127.0.0.2";
    const fetch = fetchHere({ lookup, isAllowedAddress });
    await fetch(new URL(site.url("/")));
    assert.equal(asked, 1);
    assert.deepEqual(site.connections, ["127.0.0.2"]);
    await refused(fetch(new URL(site.url("/"))), "address_refused");
    assert.equal(site.connections.length, 1);
  });

  test("of several addresses only the allowed ones are tried", async () => {
    const lookup = async (): Promise<Address[]> => [
      { address: "127.0.0.1", family: 4 },
      { address: "::1", family: 6 },
      { address: "127.0.0.2", family: 4 },
    ];
    await fetchHere({ lookup, isAllowedAddress: (address) => address === "127.0.0.2" })(
      new URL(site.url("/")),
    );
    assert.deepEqual(site.connections, ["127.0.0.2"]);
    assert.equal(site.connections.length, 1);
  });

  test("an address that does not answer gives way to the next", async () => {
    const lookup = async (): Promise<Address[]> => [
      { address: "::1", family: 6 },
      { address: "127.0.0.1", family: 4 },
    ];
    assert.equal((await fetchHere({ lookup })(new URL(site.url("/")))).status, 200);
  });

  test("a name without addresses, and one that cannot be looked up, are unreachable", async () => {
    await refused(fetchHere({ lookup: async () => [] })(new URL(site.url("/"))), "unreachable");
    const lookup = async () => Promise.reject(new Error("queryA ENOTFOUND app.example"));
    await refused(fetchHere({ lookup })(new URL(site.url("/"))), "unreachable");
  });
});

describe("where it may be", () => {
  test("https only", async () => {
    await refused(fetchHere()(new URL(`http://${HOST}:${site.port}/`)), "not_https");
    await refused(fetchHere()(new URL("file:///etc/passwd")), "not_https");
  });

  test("port 443 only, unless configured", async () => {
    const { ca, port } = site;
    const rules: SafeFetchOptions = {
      ca,
      isAllowedAddress: () => true,
      lookup: async () => [{ address: "127.0.0.1", family: 4 }],
    };
    await refused(createSafeFetch(rules)(new URL(site.url("/"))), "port_refused");
    assert.equal(site.connections.length, 0);
    assert.equal(
      (await createSafeFetch({ ...rules, ports: [443, port] })(new URL(site.url("/")))).status,
      200,
    );
  });

  test("a certificate that is not trusted, or of another name: unreachable, whatever the environment says", async () => {
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
    try {
      const lookup = async (): Promise<Address[]> => [{ address: "127.0.0.1", family: 4 }];
      const untrusting = createSafeFetch({ ports: "any", isAllowedAddress: () => true, lookup });
      await refused(untrusting(new URL(site.url("/"))), "unreachable");
      await refused(fetchHere()(new URL(`https://other.example:${site.port}/`)), "unreachable");
      assert.equal(site.requests.length, 0);
    } finally {
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    }
  });

  test("no proxy of the environment", async () => {
    Object.assign(process.env, { HTTPS_PROXY: "http://127.0.0.1:9", https_proxy: "http://127.0.0.1:9" });
    try {
      assert.equal((await fetchHere()(new URL(site.url("/")))).status, 200);
    } finally {
      delete process.env.HTTPS_PROXY;
      delete process.env.https_proxy;
    }
  });
});

describe("answers", () => {
  for (const status of [301, 302, 303, 307, 308])
    test(`${status} is not followed`, async () => {
      site.answer = (_req, res) => res.writeHead(status, { location: site.url("/elsewhere") }).end();
      await refused(fetchHere()(new URL(site.url("/"))), "redirected");
      assert.equal(site.requests.length, 1);
    });

  for (const status of [201, 203, 204, 206, 304, 400, 401, 404, 410, 429, 500, 503])
    test(`${status} is not an answer`, async () => {
      site.answer = (_req, res) => {
        res
          .writeHead(status, { "content-type": "application/json" })
          .end(status > 204 && status !== 304 ? "{}" : "");
      };
      const error = await refused(fetchHere()(new URL(site.url("/"))), "bad_status");
      assert.equal(error.status, status);
    });

  test("304 is an answer to a validator only", async () => {
    site.answer = (_req, res) => res.writeHead(304, { etag: '"1"' }).end();
    const { status, body } = await fetchHere()(new URL(site.url("/")), { "if-none-match": '"1"' });
    assert.deepEqual([status, body], [304, ""]);
    assert.equal(site.requests[0]?.headers["if-none-match"], '"1"');
  });

  const types: Record<string, boolean> = {
    "application/json": true,
    "application/json; charset=utf-8": true,
    "Application/JSON": true,
    "application/client-metadata+json": true,
    "application/jwk-set+json;charset=utf-8": true,
    "text/html": false,
    "text/plain": false,
    "text/json": false,
    "application/jsonp": false,
    "application/javascript": false,
    "text/html; a=application/json": false,
    "": false,
  };
  for (const [type, accepted] of Object.entries(types))
    test(`content type "${type}" is ${accepted ? "accepted" : "refused"}`, async () => {
      site.answer = (_req, res) => res.writeHead(200, type === "" ? {} : { "content-type": type }).end("{}");
      const answer = fetchHere()(new URL(site.url("/")));
      if (accepted) assert.equal((await answer).body, "{}");
      else await refused(answer, "wrong_content_type");
    });

  test("a compressed body is refused unread", async () => {
    site.answer = (_req, res) => {
      res
        .writeHead(200, { "content-type": "application/json", "content-encoding": "gzip" })
        .end(gzipSync("{}"));
    };
    await refused(fetchHere()(new URL(site.url("/"))), "wrong_content_type");
    assert.equal(site.requests[0]?.headers["accept-encoding"], "identity");
  });
});

describe("size", () => {
  const json = { "content-type": "application/json" };

  test("exactly the limit is read, one byte more is not", async () => {
    site.answer = (req, res) => res.writeHead(200, json).end("x".repeat(Number(req.url?.slice(1))));
    assert.equal((await fetchHere()(new URL(site.url("/5120")))).body.length, 5120);
    await refused(fetchHere()(new URL(site.url("/5121"))), "too_large");
  });

  test("an endless body is cut off while it streams", async () => {
    let sent = 0;
    const closed = new Promise<void>((resolve) => {
      site.answer = (_req, res) => {
        res.writeHead(200, json);
        const timer = setInterval(() => {
          sent += 1024;
          res.write("x".repeat(1024));
        }, 5);
        res.on("close", () => {
          clearInterval(timer);
          resolve();
        });
      };
    });
    await refused(fetchHere({ timeoutMs: 20_000 })(new URL(site.url("/"))), "too_large");
    await closed;
    assert.ok(sent < 200_000, `${sent} bytes were sent`);
  });

  test("a length that is announced too large is refused before the body comes", async () => {
    site.answer = (_req, res) => {
      res.writeHead(200, { ...json, "content-length": "1000000" }).write("{");
    };
    await refused(fetchHere({ timeoutMs: 20_000 })(new URL(site.url("/"))), "too_large");
  });

  test("a length that lies is not believed: what comes after it is not read, what is missing is not waited for", async () => {
    const answer = (length: number) =>
      `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`;
    const tooMuch = await startRawSite(`${answer(2)}{}${"x".repeat(20_000)}`);
    const tooLittle = await startRawSite(`${answer(100)}{}`);
    try {
      const more = await fetchFrom(tooMuch.ca)(new URL(`https://${HOST}:${tooMuch.port}/`));
      assert.equal(more.body, "{}");
      await refused(fetchFrom(tooLittle.ca)(new URL(`https://${HOST}:${tooLittle.port}/`)), "unreachable");
    } finally {
      await tooMuch.close();
      await tooLittle.close();
    }
  });

  test("large headers are refused", async () => {
    site.answer = (_req, res) => sendJson(res, {}, { "x-padding": "x".repeat(9_000) });
    await refused(fetchHere()(new URL(site.url("/"))), "too_large");
  });
});

// Without their limits these would never end.
describe("time", { timeout: 60_000 }, () => {
  test("a slow drip is cut off: the limit is for everything together", async () => {
    site.answer = (_req, res) => {
      res.writeHead(200, { "content-type": "application/json" });
      const timer = setInterval(() => res.write(" "), 20);
      res.on("close", () => clearInterval(timer));
    };
    await refused(fetchHere({ timeoutMs: 300 })(new URL(site.url("/"))), "timed_out");
  });

  test("so is a host that never answers, and a name server that never does", async () => {
    site.answer = () => {};
    await refused(fetchHere({ timeoutMs: 200 })(new URL(site.url("/"))), "timed_out");
    const alive = setTimeout(() => {}, 60_000);
    const never = () => new Promise<Address[]>(() => {});
    await refused(fetchHere({ timeoutMs: 200, lookup: never })(new URL(site.url("/"))), "timed_out");
    clearTimeout(alive);
  });
});
