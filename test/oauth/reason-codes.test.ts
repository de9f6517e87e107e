/** The compiler accepts no other reason codes than those of the table; here is that each of them is used, and explained. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { REASON_CODES } from "../../src/oauth/reason-codes.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** What only explains reasons that are given elsewhere. */
const EXPLAINS = ["oauth/reason-codes.ts", "pages/error-page.ts", "cli/doctor/"];

const sources = readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts") && !EXPLAINS.some((path) => file.startsWith(path)))
  .map((file) => readFileSync(join(root, "src", file), "utf8"))
  .join("\n");

/** The code itself, or the name of the limit or budget that it is made of (src/http/rate-limit.ts). */
function writtenAs(code: string): string[] {
  const limit = code.replace(/^too_many_/, "");
  return [code, limit, limit.replace(/_of_address$/, "")];
}

describe("reason codes", () => {
  test("each is given by some part of the server", () => {
    const unused = REASON_CODES.filter(
      (code) => !writtenAs(code).some((text) => sources.includes(`"${text}"`)),
    );
    assert.deepEqual(unused, [], "remove it from src/oauth/reason-codes.ts");
  });

  test("each is written in snake case, and once", () => {
    for (const code of REASON_CODES) assert.match(code, /^[a-z]+(_[a-z]+)*$/);
    assert.equal(new Set(REASON_CODES).size, REASON_CODES.length);
  });

  test("docs/runbook.md says of each what it means", () => {
    const runbook = readFileSync(join(root, "docs/runbook.md"), "utf8");
    const missing = REASON_CODES.filter((code) => !runbook.includes(`\`${code}\``));
    assert.deepEqual(missing, []);
  });
});
