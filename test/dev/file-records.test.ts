/** The store of `npm run dev`: after a restart it has everything that was in it, however the process ended. */
import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileRecords } from "../../dev/watch/file-records.ts";

const newPath = () => join(mkdtempSync(join(tmpdir(), "file-records-")), "records");

test("after a restart everything is as it was, also without a clean end", async () => {
  const path = newPath();
  const before = await fileRecords(path);
  await Promise.all([
    before.put("client:a", "1", 60),
    before.put("client:b", "1", 60),
    before.put("client:c", "1", 60),
    before.put("grant:d", "1", 60),
  ]);
  await Promise.all([
    before.replace("client:a", "1", "2", 60),
    before.replace("client:a", "not it", "3", 60),
    before.rewrite("client:b", "1", "2"),
    before.delete("client:c"),
    before.deleteIf("grant:d", "not it"),
    before.indexes.add(["letters"], "b", { due: 20, latest: 60 }),
    before.indexes.add(["letters"], "a", { due: 10, latest: 60 }),
    before.indexes.add(["letters"], "c", { due: 30, latest: 60 }),
    before.indexes.remove("letters", ["c"]),
  ]);
  // Killed: nothing is closed, and the last line is half of one.
  appendFileSync(path, '{"key":"client:torn","rec');
  const after = await fileRecords(path);
  const read = await Promise.all(
    ["client:a", "client:b", "client:c", "grant:d", "client:torn"].map(after.get),
  );
  assert.deepEqual(read, ["2", "2", undefined, "1", undefined]);
  assert.deepEqual(await after.indexes.latest("letters", 9), ["b", "a"]);
  await after.put("client:e", "1", 60);
  await after.close();
  const again = await fileRecords(path);
  assert.equal(await again.get("client:e"), "1", "the torn line is gone from the file");
  await before.close();
  await again.close();
});

test("changes that race are in the journal in the order in which they were made", async () => {
  const path = newPath();
  const records = await fileRecords(path);
  for (let round = 0; round < 50; round++)
    await Promise.all([
      records.put(`client:${round}`, "put", 60),
      records.replace(`client:${round}`, undefined, "replaced", 60),
      records.deleteIf(`client:${round}`, "replaced"),
      records.put(`client:${round}`, "put again", 60),
      records.delete(`client:${round}`),
      records.replace(`client:${round}`, "put again", "replaced again", 60),
    ]);
  const keys = Array.from({ length: 50 }, (_, round) => `client:${round}`);
  const inMemory = await Promise.all(keys.map(records.get));
  await records.close();
  const again = await fileRecords(path);
  assert.deepEqual(await Promise.all(keys.map(again.get)), inMemory);
  await again.close();
});

test("a record ends when it would have, and a rewritten one no later", async () => {
  const path = newPath();
  let ahead = 0;
  const now = () => Date.now() + ahead;
  const records = await fileRecords(path, now);
  await records.put("client:short", "1", 10);
  await records.rewrite("client:short", "1", "2");
  await records.put("client:long", "1", 100);
  await records.indexes.add(["letters"], "a", { due: 1, latest: 10 });
  await records.close();
  ahead = 11_000;
  const later = await fileRecords(path, now);
  assert.equal(await later.get("client:short"), undefined);
  assert.equal(await later.get("client:long"), "1");
  assert.deepEqual(await later.indexes.latest("letters", 9), []);
  assert.doesNotMatch(readFileSync(path, "utf8"), /short|letters/, "and is left out of the file");
  await later.close();
});

test("nobody else on this computer can read it", async () => {
  const path = newPath();
  const records = await fileRecords(path);
  await records.put("client:a", "1", 60);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  await records.close();
});
