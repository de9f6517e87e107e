/** The compiler accepts no other reason codes than those of the table; here is that each of them is used, and explained. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { pino } from "pino";
import { createAudit } from "../../src/audit/audit.ts";
import type { RequestFacts } from "../../src/http/request-facts.ts";
import { OAuthError } from "../../src/oauth/errors.ts";
import { REASON_CODES } from "../../src/oauth/reason-codes.ts";
import type { Verification } from "../../src/resource/caller.ts";
import type { Log } from "../../src/runtime/log.ts";

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

  test("a misspelt one does not compile, wherever a reason is given", () => {
    const log: Log = pino({ level: "silent" });
    // @ts-expect-error
    log.warn({ reason: "no_tokne" }, "…");
    // @ts-expect-error
    createAudit(log)({ event: "sign_in", decision: "deny", reason: "no_tokne" });
    // @ts-expect-error
    new OAuthError("invalid_request", "…", { reason: "no_tokne" });
    // @ts-expect-error
    const verification: Verification = { refused: "no_tokne" };
    // @ts-expect-error
    const facts: Partial<RequestFacts> = { reason: "no_tokne" };
    assert.ok(verification && facts);
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
