/** What the policy denies at a backend is denied in every spelling that the backend could take for it. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createPolicy, type Policy } from "../../src/access/policy.ts";
import { parsePolicy } from "../../src/access/policy-file.ts";
import { mergedServersOf } from "../../src/config/merged-servers.ts";
import { remoteServerOf } from "../../src/config/remote-server.ts";
import { backendFeatures } from "../../src/mcp/backends/backend-features.ts";
import { requesterOf } from "../support/requester.ts";

const needs = {
  tools: { delete_one: [], "*": [] },
  resources: { "file:///srv/root.key": [], "crm://h/Private/a": [], "*": [] },
  prompts: { "*": [] },
};
const backends = {
  one: remoteServerOf({ server: "http://h/mcp", needs }),
  merged: mergedServersOf({ servers: { crm: { server: "http://h/mcp", needs } } }),
};
const policyFor = (backend: keyof typeof backends, rule: string): Policy => {
  const { tools, resources, prompts } = backends[backend].needs;
  const names = { tools: [...tools.keys()], resources: [...resources.keys()], prompts: [...prompts.keys()] };
  return createPolicy(parsePolicy(`rules: [{ name: no, ${rule} }]`, "policy.yaml", { scopes: [], ...names }));
};
const DENIED = {
  one: 'deny: { tools: ["delete_*"], resources: ["*.key", "crm://h/Private/*"] }',
  merged: 'deny: { tools: ["crm_delete_*"], resources: ["crm+*.key", "crm+crm://h/Private/*"] }',
};

for (const backend of ["one", "merged"] as const)
  describe(`the policy in front of ${backend === "one" ? "a backend" : "several servers as one"}`, () => {
    const { feature } = backendFeatures(backends[backend]);
    const policy = policyFor(backend, DENIED[backend]);
    const named = (kind: "tool" | "resource", name: string) =>
      backend === "one" ? name : kind === "tool" ? `crm_${name}` : `crm+${name}`;
    const isAllowed = (kind: "tool" | "resource", name: string) => {
      const found = feature(kind, named(kind, name));
      return found !== undefined && policy.feature(requesterOf(), found).allowed;
    };

    for (const [kind, name] of [
      ["tool", "delete_one"],
      ["tool", "delete_all"],
      ["tool", "Delete_all"],
      ["tool", " delete_all"],
      ["tool", "ｄelete_all"],
      ["tool", "%64elete_all"],
      ["resource", "file:///srv/id.key"],
      ["resource", "file:///srv/id.KEY"],
      ["resource", "file:///srv/id.key?"],
      ["resource", "file:///srv/id.key?x=1"],
      ["resource", "file:///srv/id.key/"],
      ["resource", "crm://h/Private/b"],
      ["resource", "crm://h/private/b"],
    ] as const)
      test(`denies the ${kind} ${JSON.stringify(name)}`, () => assert.equal(isAllowed(kind, name), false));

    for (const [kind, name] of [
      ["tool", "find"],
      ["tool", "undelete_all"],
      ["resource", "file:///srv/id.keys"],
      ["resource", "crm://h/Public/b"],
    ] as const)
      test(`allows the ${kind} ${name}`, () => assert.equal(isAllowed(kind, name), true));
  });

test("what is allowed is allowed as it is written", () => {
  const { tools } = backends.one.needs;
  const known = { scopes: [], tools: [...tools.keys()], resources: [], prompts: [] };
  const rules = 'default: deny\nrules: [{ name: some, allow: { tools: ["delete_*"] } }]';
  const policy = createPolicy(parsePolicy(rules, "policy.yaml", known));
  const { feature } = backendFeatures(backends.one);
  for (const [name, isAllowed] of [
    ["delete_all", true],
    ["Delete_all", false],
  ] as const) {
    const found = feature("tool", name);
    assert.ok(found);
    assert.equal(policy.feature(requesterOf(), found).allowed, isAllowed, name);
  }
});
