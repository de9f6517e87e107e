/** The policy in docs/access.md is one that this server accepts. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parsePolicy } from "../../src/access/policy-file.ts";
import { knownNames } from "../../src/mcp/authoring/features.ts";
import { prompts, resources, scopes, tools } from "../../src/tools/index.ts";

test("docs/access.md", () => {
  const [, example] = /```yaml\n(.*?)```/s.exec(readFileSync("docs/access.md", "utf8")) ?? [];
  const known = knownNames([{ tools, resources, prompts, scopes }]);
  assert.equal(parsePolicy(example ?? "", "access.md", known).rules.length, 3);
});
