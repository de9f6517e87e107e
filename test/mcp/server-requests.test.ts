/** Server requests to a client: an answer counts once, and is found also when its publication was lost. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, mock, test } from "node:test";
import { pino } from "pino";
import { createServerRequests, StoredServerRequest } from "../../src/mcp/server/server-requests.ts";
import { encryptedStore } from "../../src/storage/encrypted.ts";
import { memoryStore } from "../../src/storage/memory.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import { SECRET_KEY } from "../support/test-server.ts";

const log = pino({ level: "silent" });

/** A store without published changes, as during an outage of the change feed. */
function deafQuestions() {
  const records = memoryStore();
  const sealer = createSealer([SECRET_KEY]);
  const store = encryptedStore({ records, sealer, log, kind: "question", schema: StoredServerRequest });
  const watch = () => ({ epoch: undefined, close: () => {} });
  return { records, serverRequests: createServerRequests({ store, records: { watch }, randomBytes }) };
}

describe("a server request", () => {
  test("takes one answer, also before the process that waits for it knows", async (t) => {
    const { records, serverRequests } = deafQuestions();
    t.after(() => records.close());
    const { id, drop } = await serverRequests.ask("grant");
    assert.equal(await serverRequests.answer("grant", { id, result: { first: true } }), true);
    assert.equal(await serverRequests.answer("grant", { id, result: { second: true } }), false);
    await drop();
  });

  test("finds its answer although the published change was lost", async (t) => {
    mock.timers.enable({ apis: ["setInterval"] });
    t.after(() => mock.timers.reset());
    const { records, serverRequests } = deafQuestions();
    const serverRequest = await serverRequests.ask("grant");
    await serverRequests.answer("grant", { id: serverRequest.id, result: { found: true } });
    mock.timers.tick(5_000);
    assert.deepEqual(await serverRequest.answer, { id: serverRequest.id, result: { found: true } });
    await records.close();
  });

  test("that was lost in a failover keeps nobody waiting", async (t) => {
    mock.timers.enable({ apis: ["setInterval"] });
    t.after(() => mock.timers.reset());
    const { records, serverRequests } = deafQuestions();
    const serverRequest = await serverRequests.ask("grant");
    await records.delete(`question:grant:${serverRequest.id}`);
    mock.timers.tick(5_000);
    assert.match(JSON.stringify(await serverRequest.answer), /not pending any more/);
    await records.close();
  });

  test("is not looked up in the store while the change feed works", async (t) => {
    mock.timers.enable({ apis: ["setInterval"] });
    t.after(() => mock.timers.reset());
    const records = memoryStore();
    t.after(() => records.close());
    let looks = 0;
    const counting = {
      ...records,
      get(key: string) {
        looks++;
        return records.get(key);
      },
    };
    const sealer = createSealer([SECRET_KEY]);
    const store = encryptedStore({
      records: counting,
      sealer,
      log,
      kind: "question",
      schema: StoredServerRequest,
    });
    const serverRequests = createServerRequests({ store, records, randomBytes });
    const asked = await Promise.all(Array.from({ length: 100 }, () => serverRequests.ask("grant")));
    for (let i = 0; i < 11; i++) mock.timers.tick(5_000);
    assert.equal(looks, 0);
    mock.timers.tick(5_000);
    assert.equal(looks, 100, "once a minute, nevertheless");
    await Promise.all(asked.map(({ drop }) => drop()));
  });

  test("is removed together with others that end at the same time", async (t) => {
    const records = memoryStore();
    t.after(() => records.close());
    const removals: number[] = [];
    const counting = {
      ...records,
      delete: assert.fail,
      deleteAll(keys: readonly string[]) {
        removals.push(keys.length);
        return records.deleteAll(keys);
      },
    };
    const sealer = createSealer([SECRET_KEY]);
    const store = encryptedStore({
      records: counting,
      sealer,
      log,
      kind: "question",
      schema: StoredServerRequest,
    });
    const serverRequests = createServerRequests({ store, records, randomBytes });
    const asked = await Promise.all(Array.from({ length: 1_200 }, () => serverRequests.ask("grant")));
    await Promise.all(asked.map(({ drop }) => drop()));
    assert.deepEqual(removals, [500, 500, 200]);
    for (const { id } of asked) assert.equal(await store.secondsLeft(`grant:${id}`), undefined);
  });

  test("that was dropped has no answer, and takes none", async (t) => {
    const { records, serverRequests } = deafQuestions();
    t.after(() => records.close());
    const serverRequest = await serverRequests.ask("grant");
    await serverRequest.drop();
    assert.equal(await serverRequest.answer, undefined);
    assert.equal(await serverRequests.answer("grant", { id: serverRequest.id, result: {} }), false);
  });
});
