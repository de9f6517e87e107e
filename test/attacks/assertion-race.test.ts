/** An assertion at two replicas on one Redis at the same instant. `test/races/assertions.long.ts` does it a thousand times. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { assertionRace, REPLAYED } from "../support/assertion-race.ts";
import { redisForTests } from "../support/redis.ts";
import { useTestServer } from "../support/test-server.ts";

const redis = await redisForTests();
after(() => redis.stop());

describe("of the copies of an assertion that two replicas get at the same instant", {
  skip: redis.skip,
}, async () => {
  const race = await assertionRace({ after });
  const testServer = useTestServer({ redisUrl: redis.url ?? "", environment: race.environment });

  for (const kind of ["id-jag", "workload", "client-assertion"] as const)
    test(`one is accepted: ${kind}`, async () => {
      const replica = await testServer.replica();
      const twice = REPLAYED[kind];
      for (const answers of await race.run(kind, [testServer.baseUrl, replica], 10))
        assert.deepEqual(answers, ["200 Bearer", twice, twice, twice, twice, twice]);
      const reasons = new Set(
        testServer.log.flatMap(({ msg, path, status, reason }) =>
          msg === "request" && path === "/token" && status !== 200 ? [reason] : [],
        ),
      );
      assert.deepEqual([...reasons], ["assertion_replayed"]);
    });
});
