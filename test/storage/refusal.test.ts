/** What a reply of Redis that refuses means to its operator: which setting is to be changed, and how. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { refusalOf } from "../../src/storage/redis/refusal.ts";

const keyPrefix = "mcp";
const server = { url: "redis://h:6379", keyPrefix };
const sentinel = { url: "redis://mymaster", sentinels: ["redis://s:26379"], keyPrefix };
const ofSentinels = (message: string) =>
  new AggregateError([new Error(message)], "no Sentinel names the master of mymaster");

describe("a refusal of Redis", () => {
  for (const message of ["NOAUTH Authentication required.", "WRONGPASS invalid username-password pair"]) {
    test(`with Sentinels, ${message.split(" ")[0]} of the master is about REDIS_URL`, () => {
      const { says, fix } = refusalOf(new Error(message), sentinel) ?? { says: "", fix: "" };
      assert.match(says, /REDIS_URL/);
      assert.doesNotMatch(says + fix, /REDIS_SENTINELS/);
    });

    test(`${message.split(" ")[0]} of the Sentinels is about REDIS_SENTINELS`, () => {
      const { says, fix } = refusalOf(ofSentinels(message), sentinel) ?? { says: "", fix: "" };
      assert.match(says, /REDIS_SENTINELS/);
      assert.doesNotMatch(says + fix, /REDIS_URL/);
    });
  }

  test("of what is no Sentinel is not about commands that were renamed", () => {
    const found = refusalOf(
      ofSentinels("ERR unknown command 'SENTINEL', with args beginning with: "),
      sentinel,
    );
    assert.match(found?.says ?? "", /no Sentinel is/);
    assert.doesNotMatch(found?.fix ?? "", /rename-command/);
  });

  test("of a database that it has not is about its number", () => {
    for (const message of ["ERR DB index is out of range", "ERR SELECT is not allowed in cluster mode"])
      assert.match(refusalOf(new Error(message), server)?.fix ?? "", /number behind the host in REDIS_URL/);
  });
});
