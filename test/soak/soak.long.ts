/** Half a minute of `npm run soak`, with everything that happens in it: nothing is lost, and the script does not rot. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { skipWithoutRedisServer } from "../support/redis.ts";
import { reportText } from "./report.ts";
import { soak } from "./run.ts";

describe("a short soak", { skip: skipWithoutRedisServer() }, () => {
  test("no session is lost and no answer is unexpected while everything fails once", async (t) => {
    const report = await soak({ minutes: 0.5, rate: 40, provider: "static", say: () => {} });
    for (const line of reportText(report).split("\n")) t.diagnostic(line);
    const { ledger } = report;
    assert.deepEqual(ledger.lost, []);
    assert.deepEqual(ledger.unexpected, []);
    assert.ok((ledger.kinds.get("tool call")?.served ?? 0) > 100, "calls were served");
    assert.ok(ledger.counts.refreshes > 10 && report.upstreamRefreshes > 0, "sessions were renewed");
    assert.ok(ledger.counts.signIns >= report.sessionsAtOnce, "users signed in");
    assert.ok(ledger.total("told to wait") > 0, "the faults were felt");
    assert.equal(ledger.phases.length, 11, "everything happened");
  });
});
