/** The bytes of bodies in memory are counted once, and released once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createBodyBudget } from "../../src/http/body-budget.ts";

test("what is added to a share after it was released is held by nobody", () => {
  const budget = createBodyBudget({ total: 10_000, perHolder: 6_000 });
  const share = budget.open("holder", () => {});
  share.release();
  share.add(5_000);
  budget.open("holder", () => {}).add(3_900);
});

test("a share that is cut, and released when its response closes, is given back once", () => {
  const budget = createBodyBudget({ total: 10_000 });
  let isCut = false;
  const slow = budget.open("slow", () => {
    isCut = true;
  });
  slow.add(7_000);
  const other = budget.open("other", () => {});
  other.add(6_000);
  assert.equal(isCut, true);
  slow.release();
  other.arrived();
  assert.throws(() => budget.open("third", () => {}).add(1_000), { reason: "too_much_under_way_for_all" });
});
