/** A lock that is given back while nobody waits for that. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, describe, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { createLocks } from "../../src/grants/lock.ts";
import { createShutdown } from "../../src/runtime/shutdown.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { held } from "../support/held.ts";

describe("the end of a lock that the store takes its time for", () => {
  const records = memoryStore();
  after(() => records.close());

  /** Of a process whose deletions are made when they are let go. */
  function slowProcess() {
    const shutdown = createShutdown();
    const { wait, letGo } = held();
    const slow = {
      ...records,
      async deleteIf(key: string, holder: string) {
        await wait();
        return await records.deleteIf(key, holder);
      },
    };
    const options = { shutdown, randomBytes, monotonicNow: () => 0, lockSeconds: 30 };
    return { shutdown, letGo, locks: createLocks({ ...options, records: slow }) };
  }

  test("is waited for by a process that stops, and by nobody else", async () => {
    const { shutdown, letGo, locks } = slowProcess();
    const lock = await locks.acquire("one");
    assert.equal(await lock?.during(async () => "done"), "done");
    assert.notEqual(await records.get("lock:one"), undefined);
    const finished = shutdown.finished().then(() => "finished");
    assert.equal(await Promise.race([finished, setImmediate("it waits")]), "it waits");
    letGo();
    await finished;
    assert.equal(await records.get("lock:one"), undefined);
  });

  test("leaves the lock of whoever took it meanwhile alone", async () => {
    const { shutdown, letGo, locks } = slowProcess();
    await (await locks.acquire("two"))?.during(async () => {});
    await records.delete("lock:two"); // it ended by itself
    assert.ok(await slowProcess().locks.acquire("two"));
    letGo();
    await shutdown.finished();
    assert.notEqual(await records.get("lock:two"), undefined);
  });
});
