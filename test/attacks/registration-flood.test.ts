/** What strangers can have stored by registering: bounded in bytes, for one address, for a network, and for everybody. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { createClient } from "@keyv/redis";
import type { Answer } from "../../dev/client/http.ts";
import { postJson, redeem, register } from "../support/oauth-client.ts";
import { redisForTests, skipWithoutRedisServer, startRedis } from "../support/redis.ts";
import { startTestServer, type TestServer } from "../support/test-server.ts";

const redis = await redisForTests();
after(() => redis.stop());

const USUAL = { redirect_uris: ["https://client.example/cb"], token_endpoint_auth_method: "none" };
/** As much as is accepted. */
const LARGEST = {
  ...USUAL,
  redirect_uris: Array.from({ length: 15 }, (_, n) => `https://app.example/${n}/${"x".repeat(480)}`),
};

function registering(testServer: TestServer, from: string, metadata: object = USUAL): Promise<Answer> {
  return postJson(`${testServer.baseUrl}/register`, metadata, { "x-forwarded-for": from });
}

async function testServerBehindProxy(environment: Record<string, string> = {}, redisUrl = redis.url) {
  return startTestServer({
    ...(redisUrl !== undefined && { redisUrl }),
    environment: { TRUSTED_PROXIES: "127.0.0.1", ...environment },
  });
}

async function reasons(testServer: TestServer, answers: readonly Answer[]): Promise<unknown[]> {
  const ids = answers.map(({ headers }) => headers.get("x-request-id"));
  return testServer.log.filter((line) => ids.includes(String(line.requestId))).map(({ reason }) => reason);
}

describe("a flood of registrations", redis, () => {
  test("more that are refused than there may be, from one /56, use up nothing that others need", async () => {
    const testServer = await testServerBehindProxy({
      REGISTRATIONS_PER_HOUR: "200",
      REGISTRATIONS_PER_ADDRESS_PER_HOUR: "30",
    });
    try {
      const flood = Array.from({ length: 250 }, (_, n) =>
        registering(testServer, `2001:db8:0:${n.toString(16)}::1`, {}),
      );
      for (const { status } of await Promise.all(flood)) assert.equal(status, 400);
      assert.equal((await registering(testServer, "203.0.113.1")).status, 201);
      assert.equal((await registering(testServer, "2001:db8:0:1::1")).status, 201, "not even their own");
    } finally {
      await testServer.close();
    }
  });

  test("a /48 of 65,536 networks has a share, however it spreads, and the others have what is left", async () => {
    const testServer = await testServerBehindProxy({
      REGISTRATIONS_PER_HOUR: "50",
      REGISTRATIONS_PER_ADDRESS_PER_HOUR: "5",
    });
    try {
      let stored = 0;
      for (let n = 0; n < 60; n++)
        if ((await registering(testServer, `2001:db8:0:${(n * 256).toString(16)}::1`)).status === 201)
          stored++;
      assert.equal(stored, 10, "a fifth of everybody's");
      for (let n = 0; n < 40; n++)
        assert.equal(
          (await registering(testServer, `203.0.113.${n}`)).status,
          201,
          `the ${n}th who comes late`,
        );
      const none = await registering(testServer, "203.0.113.100");
      assert.equal(none.status, 429);
      assert.deepEqual(await reasons(testServer, [none]), ["too_many_registrations"]);
    } finally {
      await testServer.close();
    }
  });

  test("one /64 is not made more by its addresses, nor one /56 by its /64s", async () => {
    const testServer = await testServerBehindProxy({ REGISTRATIONS_PER_ADDRESS_PER_HOUR: "2" });
    try {
      const from = async (addresses: string[]) => {
        const statuses = [];
        for (const address of addresses) statuses.push((await registering(testServer, address)).status);
        return statuses;
      };
      const within64 = await from(["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1::3"]);
      assert.deepEqual(within64, [201, 201, 429]);
      const within56 = await from(["2001:db8:0:2::1", "2001:db8:0:3::1", "2001:db8:0:4::1"]);
      assert.deepEqual(within56, [201, 201, 429], "twice as many as one /64");
    } finally {
      await testServer.close();
    }
  });

  test("hammering is limited for whoever does it, and for nobody else", async () => {
    const testServer = await testServerBehindProxy({ REGISTRATIONS_PER_ADDRESS_PER_HOUR: "1" });
    try {
      const answers = [];
      for (let n = 0; n < 11; n++) answers.push(await registering(testServer, "203.0.113.1", {}));
      assert.deepEqual(
        answers.map(({ status }) => status),
        [...Array(10).fill(400), 429],
      );
      assert.deepEqual(await reasons(testServer, answers.slice(-1)), [
        "too_many_registration_requests_of_address",
      ]);
      const guess = await fetch(`${testServer.baseUrl}/register/made-up`, {
        headers: { "x-forwarded-for": "203.0.113.1", authorization: "Bearer x" },
      });
      assert.equal(guess.status, 429, "guessing is counted with it");
      assert.equal((await registering(testServer, "203.0.113.2")).status, 201);
    } finally {
      await testServer.close();
    }
  });

  test("a registration changed 100 times and never used ends when it would have", async () => {
    const testServer = await testServerBehindProxy({
      REGISTRATIONS_PER_ADDRESS_PER_HOUR: "2000",
      REGISTRATIONS_PER_HOUR: "100000",
    });
    const store = await createClient({ url: redis.url ?? "" }).connect();
    try {
      const client = await register(testServer.baseUrl);
      const { keyPrefix } = testServer.config.store as { keyPrefix: string };
      const key = `${keyPrefix}:client:${client.client_id}`;
      await store.expire(key, 1_000);
      const change = (name: string) =>
        fetch(String(client.registration_client_uri), {
          method: "PUT",
          headers: {
            authorization: `Bearer ${client.registration_access_token}`,
            "content-type": "application/json",
          },
          body: JSON.stringify({ ...USUAL, client_name: name }),
        });
      for (let n = 0; n < 100; n += 20) {
        const batch = Array.from({ length: 20 }, (_, i) => change(`Name ${n + i}`));
        for (const { status } of await Promise.all(batch)) assert.equal(status, 200);
      }
      const left = await store.ttl(key);
      assert.ok(left > 0 && left <= 1_000, `${left} s are left`);
    } finally {
      await store.close();
      await testServer.close();
    }
  });

  test("changes are counted with registrations", async () => {
    const testServer = await testServerBehindProxy({ REGISTRATIONS_PER_ADDRESS_PER_HOUR: "3" });
    try {
      const client = await register(testServer.baseUrl);
      const statuses = [];
      for (let n = 0; n < 3; n++) {
        const changed = await fetch(String(client.registration_client_uri), {
          method: "PUT",
          headers: {
            authorization: `Bearer ${client.registration_access_token}`,
            "content-type": "application/json",
          },
          body: JSON.stringify(USUAL),
        });
        statuses.push(changed.status);
      }
      assert.deepEqual(statuses, [200, 200, 429]);
      const kept = await redeem(testServer.baseUrl, client, "x");
      assert.equal(kept.body.error, "invalid_grant", "the client itself is as it was");
    } finally {
      await testServer.close();
    }
  });
});

// REGISTRATIONS_PER_HOUR as it is, times the hours of UNUSED_CLIENT_SECONDS and the one that has begun, at 2 KB a point.
// An address has 300 of 2,000 points, a /48 at most 400: 8 MB and 11 MB of these 53.
test("what one address can have stored in an hour, in bytes of Redis, is what its points say", {
  skip: skipWithoutRedisServer(),
}, async () => {
  const own = await startRedis();
  const testServer = await testServerBehindProxy({}, own.url);
  const store = await createClient({ url: own.url }).connect();
  const used = async () => Number(/used_memory:(\d+)/.exec(await store.info("memory"))?.[1]);
  try {
    await registering(testServer, "203.0.113.1", LARGEST);
    const before = await used();
    const answers = [];
    for (let n = 0; n < 100; n++) answers.push(await registering(testServer, "203.0.113.1", LARGEST));
    const stored = answers.filter(({ status }) => status === 201).length;
    assert.equal(stored, 49, "six points each: 300 are 50");
    const bytes = (await used()) - before;
    assert.ok(bytes < 300 * 2_560, `${bytes} bytes for 300 points of 2 KB, and what Redis adds`);
  } finally {
    await store.close();
    await testServer.close();
    await own.stop();
  }
});
