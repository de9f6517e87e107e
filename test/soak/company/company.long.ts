/** A small company's hour in twenty seconds: nothing is lost, and the script does not rot. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { skipWithoutRedisServer } from "../../support/redis.ts";
import { ALL } from "./latencies.ts";
import { reportText } from "./report.ts";
import { companyHour } from "./run.ts";

describe("a company's hour", { skip: skipWithoutRedisServer() }, () => {
  test("loses no session to an outage of the provider, a deploy and a failover", async (t) => {
    const report = await companyHour({ people: 300, minutes: 0.4, say: () => {} });
    for (const line of reportText(report).split("\n")) t.diagnostic(line);
    const { ledger, latencies } = report;
    assert.deepEqual(ledger.lost, []);
    assert.deepEqual(ledger.unexpected, []);
    const counted = (kind: string) =>
      latencies.list().find((each) => each.kind === kind && each.during === ALL)?.count ?? 0;
    assert.deepEqual([counted("sign-in"), counted("refresh")], [10, 290], "everybody came");
    assert.ok(counted("tool call") >= 300, "and called a tool");
    assert.equal(ledger.phases.length, 6, "everything happened");
  });
});
