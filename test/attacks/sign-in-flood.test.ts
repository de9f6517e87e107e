/** Logins that strangers begin: each is stored, so every one that goes to the provider is counted, with consent or without. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { Browser } from "../../dev/client/browser.ts";
import { startFaultyProxy } from "../support/faulty-proxy.ts";
import { authorizeUrl, newBrowser, register } from "../support/oauth-client.ts";
import { redisForTests } from "../support/redis.ts";
import { startTestServer, type TestServer } from "../support/test-server.ts";
import { PERSON, reasonOf, sendRequest } from "./support.ts";

const redis = await redisForTests();
after(() => redis.stop());

const CLIENT = { client_id: "desk", redirect_uris: ["http://127.0.0.1/callback"] };
const UNASKED = {
  CONSENT: "never",
  REGISTRATION: "off",
  CLIENT_ID_METADATA: "off",
  CLIENTS: JSON.stringify([CLIENT]),
  TRUSTED_PROXIES: "127.0.0.1",
};

describe("a flood of sign-ins that nobody is asked about", redis, () => {
  async function testServerWith(environment: Record<string, string>): Promise<TestServer> {
    return startTestServer({
      ...(redis.url !== undefined && { redisUrl: redis.url }),
      environment: { ...UNASKED, ...environment },
    });
  }
  const from = (testServer: TestServer, address: string, parameters: Record<string, string> = {}) =>
    sendRequest(authorizeUrl(testServer.baseUrl, CLIENT, parameters), {
      headers: { ...PERSON, "x-forwarded-for": address },
    });

  async function loginsIn({ records }: TestServer): Promise<number> {
    let count = 0;
    for await (const _ of records.keys("login:")) count++;
    return count;
  }

  test("an address has its limit, and no record is written beyond it", async () => {
    const testServer = await testServerWith({ SIGN_INS_PER_ADDRESS_PER_HOUR: "3" });
    try {
      const replies = [];
      for (let n = 0; n < 5; n++) replies.push(await from(testServer, "203.0.113.1"));
      assert.deepEqual(
        replies.map(({ status }) => status),
        [303, 303, 303, 429, 429],
      );
      const [refused] = replies.slice(-1);
      assert.ok(Number(refused?.headers.get("retry-after")) > 0);
      assert.equal(refused && (await reasonOf(testServer, refused)), "too_many_sign_ins");
      assert.equal(await loginsIn(testServer), 3);
      assert.equal((await from(testServer, "203.0.113.2")).status, 303);
    } finally {
      await testServer.close();
    }
  });

  test("altogether so many are under way, counted by their size, and who comes late still signs in", async () => {
    const testServer = await testServerWith({ SIGN_INS_PER_ADDRESS_PER_HOUR: "4" });
    try {
      const large = { state: "x".repeat(2_048) };
      const sizes = [
        await from(testServer, "203.0.113.1", large),
        await from(testServer, "203.0.113.1", large),
      ];
      const [second] = sizes.slice(-1);
      assert.equal(second && (await reasonOf(testServer, second)), undefined, "two points each, of four");
      const third = await from(testServer, "203.0.113.1", large);
      assert.equal(await reasonOf(testServer, third), "too_many_sign_ins_under_way_of_address");
      for (let n = 2; n < 18; n++)
        assert.equal((await from(testServer, `203.0.113.${n}`)).status, 303, String(n));
      const none = await from(testServer, "203.0.113.99");
      assert.equal(await reasonOf(testServer, none), "too_many_sign_ins_under_way");
    } finally {
      await testServer.close();
    }
  });
});

test("who was asked once, and is not asked again, is counted all the same", async () => {
  const testServer = await startTestServer({
    environment: { CONSENT: "remember", SIGN_INS_PER_ADDRESS_PER_HOUR: "3" },
  });
  try {
    const client = await register(testServer.baseUrl);
    const browser = newBrowser();
    const url = authorizeUrl(testServer.baseUrl, client);
    const consent = await browser.get(url);
    const login = await browser.submit(consent, { remember: "yes" }, { button: "approve" });
    await browser.submit(login, { login: "alice" });
    for (const status of [302, 302, 429]) {
      const unasked = await browser.get(url);
      if (status === 429) assert.equal(unasked.status, 429);
      else assert.equal(unasked.redirectedTo?.searchParams.has("code"), true, "nobody was asked");
    }
  } finally {
    await testServer.close();
  }
});

test("a provider that requests are pushed to (RFC 9126) hears of none beyond the limit", async () => {
  const upstream = await startFaultyProxy();
  const testServer = await startTestServer({
    throughProxy: upstream,
    behaviour: { pushedRequests: "of all" },
    environment: { SIGN_INS_PER_ADDRESS_PER_HOUR: "3" },
  });
  const pushed = () => upstream.seen.filter(({ method, path }) => method === "POST" && path === "/request");
  try {
    const client = await register(testServer.baseUrl);
    const here = new URL(testServer.baseUrl).port;
    const browser = new Browser({ stopAt: ({ port }) => port !== here });
    const consent = await browser.get(authorizeUrl(testServer.baseUrl, client));
    const connections = await browser.get(`${testServer.baseUrl}/connections`);
    for (let n = 0; n < 4; n++) {
      await browser.submit(consent, {}, { button: "approve" });
      await browser.submit(connections, {}, { button: "Sign in" });
    }
    assert.equal(pushed().length, 3);
  } finally {
    await testServer.close();
    await upstream.close();
  }
});

test("a refusal of consent is counted as well: it is written down", async () => {
  const testServer = await startTestServer({ environment: { SIGN_INS_PER_ADDRESS_PER_HOUR: "2" } });
  try {
    const client = await register(testServer.baseUrl);
    const browser = newBrowser();
    const consent = await browser.get(authorizeUrl(testServer.baseUrl, client));
    for (let n = 0; n < 4; n++) await browser.submit(consent, {}, { button: "deny" });
    assert.equal(testServer.log.filter(({ audit }) => audit === "consent").length, 2);
  } finally {
    await testServer.close();
  }
});
