/** What a sign-in and a refresh wait for and make copies of: one more of anything fails a test. The operations are in store-operations.test.ts. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { KeyValueStore } from "../../src/storage/store.ts";
import { startFaultyProxy } from "../support/faulty-proxy.ts";
import { held } from "../support/held.ts";
import { type Registered, refresh, register, signInForTokens } from "../support/oauth-client.ts";
import { startTestServer, type TestServer, useTestServer } from "../support/test-server.ts";

describe("a sign-in", () => {
  let testServer: TestServer;
  let client: Registered;
  let upstream: Awaited<ReturnType<typeof startFaultyProxy>>;

  before(async () => {
    upstream = await startFaultyProxy();
    testServer = await startTestServer({ throughProxy: upstream });
    client = await register(testServer.baseUrl);
    await signInForTokens(testServer.baseUrl, client); // discovery, keys, the registration's first use
  });
  after(async () => {
    await testServer.close();
    await upstream.close();
  });

  // The client; the count of endings with the budget, and the login; the login, its consumption, the grant with its indexes,
  // the user's newest grants with the count and whether a tool asked for another sign-in; at last the client with the grant, and its
  // change.
  test("waits for the store nine times: what needs not wait for something else is asked for with it", async () => {
    const waits = await waitsDuring(testServer.records, async () => {
      await signInForTokens(testServer.baseUrl, client);
    });
    assert.equal(waits, 9);
  });

  test("asks the provider once, for tokens: its metadata and keys are known", async () => {
    const before = upstream.seen.length;
    await signInForTokens(testServer.baseUrl, client);
    const asked = upstream.seen.slice(before).filter(({ path }) => !isOfBrowser(path));
    assert.deepEqual(
      asked.map(({ method, path }) => `${method} ${path}`),
      ["POST /token"],
    );
  });

  test("copies none of the provider's metadata, and builds no stream for its answer", async (t) => {
    const copies = t.mock.method(globalThis, "structuredClone");
    const { TransformStream } = globalThis;
    let streams = 0;
    globalThis.TransformStream = class extends TransformStream {
      constructor() {
        super();
        streams++;
      }
    };
    await signInForTokens(testServer.baseUrl, client).finally(() =>
      Object.assign(globalThis, { TransformStream }),
    );
    const ofLibrary = copies.mock.calls.filter(({ stack }) => stack.stack?.includes("openid-client"));
    assert.equal(ofLibrary.length, 0);
    assert.equal(streams, 0);
  });
});

describe("a refresh", () => {
  const testServer = useTestServer();
  let client: Registered;
  let next: string;

  before(async () => {
    client = await register(testServer.baseUrl);
    next = (await signInForTokens(testServer.baseUrl, client)).refresh_token;
  });

  async function refreshed(): Promise<void> {
    const answer = await refresh(testServer.baseUrl, client, next);
    assert.equal(answer.status, 200);
    next = answer.body.refresh_token;
  }

  test("waits for the store twice: the client with the grant, and the grant's change", async () => {
    assert.equal(await waitsDuring(testServer.records, refreshed), 2);
  });

  test("that renews at the provider waits four times: for the lock and the grant under it as well, not for the lock's end", async (t) => {
    testServer.clock.ahead += 3_000;
    const { deleteIf } = testServer.records;
    const end = held();
    const ends = t.mock.method(testServer.records, "deleteIf", async (key: string, value: string) => {
      await end.wait();
      return await deleteIf(key, value);
    });
    // Less than UPSTREAM_TIMEOUT_SECONDS: from then on an answer that is stored is given, whoever holds it up.
    const heldUp = delay(5_000, "held up by the lock's end", { ref: false });
    const waits = await Promise.race([waitsDuring(testServer.records, refreshed, ["deleteIf"]), heldUp]);
    end.letGo();
    assert.equal(waits, 4);
    assert.equal(ends.mock.callCount(), 1, "the provider was asked");
  });
});

/** The pages that the user sees at the provider. */
function isOfBrowser(path: string): boolean {
  return /^\/(auth|interaction|login)/.test(path);
}

/**
 * How often `work` waits: operations that are under way at the same time are waited for together.
 * @param besides operations that nobody waits for
 */
async function waitsDuring(
  records: KeyValueStore,
  work: () => Promise<void>,
  besides: readonly string[] = [],
): Promise<number> {
  let waits = 0;
  let underWay = 0;
  const restore: Array<() => void> = [];
  for (const part of [records, records.indexes, records.budgets]) {
    for (const [name, operation] of Object.entries(part)) {
      if (typeof operation !== "function" || !OPERATIONS.has(name) || besides.includes(name)) continue;
      const counted = async (...args: unknown[]) => {
        if (underWay++ === 0) waits++;
        try {
          await new Promise(setImmediate); // a database answers later
          return await operation(...args);
        } finally {
          underWay--;
        }
      };
      Object.assign(part, { [name]: counted });
      restore.push(() => Object.assign(part, { [name]: operation }));
    }
  }
  try {
    await work();
  } finally {
    for (const each of restore) each();
  }
  return waits;
}

const OPERATIONS = new Set([
  ...["get", "secondsLeft", "put", "replace", "rewrite", "delete", "deleteIf"],
  ...["add", "move", "remove", "latest", "spend"],
]);
