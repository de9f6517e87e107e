/** Which networks an address stands for, to everything that is counted. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { networksOf } from "../../src/http/networks.ts";

const keys = (address: string) => networksOf(address).map(({ key }) => key);
const shared = (one: string, other: string) => keys(one).filter((key) => keys(other).includes(key)).length;

test("an IPv4 address is one, also where it comes as IPv6", () => {
  assert.deepEqual(networksOf("203.0.113.7"), [{ key: "203.0.113.7", times: 1 }]);
  assert.deepEqual(networksOf("::ffff:203.0.113.7"), networksOf("203.0.113.7"));
  assert.deepEqual(networksOf("64:ff9b::203.0.113.7"), networksOf("203.0.113.7"), "by NAT64");
  assert.equal(networksOf("64:ff9b:1::1").length, 3, "another prefix says nothing of an IPv4 address");
});

test("of IPv6 the /64, the /56 and the /48 are counted, each with more for it", () => {
  assert.deepEqual(
    networksOf("2001:db8:1:2::1").map(({ times }) => times),
    [1, 2, 4],
  );
  assert.equal(shared("2001:db8:1:2::1", "2001:db8:1:2:ffff::1"), 3, "one /64");
  assert.equal(shared("2001:db8:1:200::1", "2001:db8:1:2ff::1"), 2, "one /56");
  assert.equal(shared("2001:db8:1:200::1", "2001:db8:1:300::1"), 1, "one /48");
  assert.equal(shared("2001:db8:1::1", "2001:db8:2::1"), 0);
});

test("what is no address is itself", () => {
  assert.deepEqual(keys(""), [""]);
  assert.deepEqual(keys("unknown"), ["unknown"]);
});
