/** What does a part of its work in `npm test` does all of it in `npm run test:long`. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

test("every file that asks whether it is run at length is named in test:long", () => {
  const { scripts } = JSON.parse(readFileSync("package.json", "utf8"));
  const named = String(scripts["test:long"]).match(/test\/\S+\.test\.ts/g) ?? [];
  const asking = readdirSync("test", { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.ts") && !file.includes("node_modules"))
    .map((file) => `test/${file}`)
    .filter((file) => /support\/long\.ts"|FUZZ_RUNS \?\? 0/.test(readFileSync(file, "utf8")));
  assert.ok(asking.length > 3);
  assert.deepEqual(named.sort(), asking.sort());
  assert.match(scripts["test:long"], /TEST_LONG=true/);
});
