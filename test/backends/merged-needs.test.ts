/** What a name needs that one of several servers has: it is judged as that server reads it, which knows nothing of the others. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { mergedServersOf } from "../../src/config/merged-servers.ts";
import { backendFeatures } from "../../src/mcp/backends/backend-features.ts";

const settings = mergedServersOf({
  servers: {
    crm: {
      server: "http://crm:8000/mcp",
      needs: {
        tools: { delete: ["admin"], "*": ["any"] },
        resources: { "file:///secret": ["admin"], "http://h/secret": ["admin"], "*": ["any"] },
        prompts: { "*": ["any"] },
      },
    },
    wiki: { server: "http://wiki:8000/mcp", needs: { tools: { crm_delete: ["wiki"], "*": ["any"] } } },
  },
});
const { feature } = backendFeatures(settings);

describe("what a name of one of several servers needs", () => {
  for (const [kind, name, entry, scope] of [
    ["tool", "crm_find", "crm_*", "any"],
    ["tool", "crm_delete", "crm_delete", "admin"],
    ["tool", "wiki_crm_delete", "wiki_crm_delete", "wiki"],
    ["tool", "wiki_delete", "wiki_*", "any"],
    ["resource", "crm+file:///secret", "crm+file:///secret", "admin"],
    ["resource", "crm+file:///a", "crm+*", "any"],
    ["prompt", "crm_greet", "crm_*", "any"],
  ] as const)
    test(`${kind} ${name}: ${scope}`, () => {
      const found = feature(kind, name);
      assert.deepEqual([found?.name, found?.entry, found?.scopes], [name, entry, [[scope]]]);
    });

  for (const [kind, name, why] of [
    ["tool", "crm_ delete", "a server may take no notice of spaces around a name"],
    ["tool", "crm_Delete", "nor of case"],
    ["resource", "crm+file://localhost/secret", "browsers have that for file:///secret"],
    ["resource", "crm+file:/secret", "and that"],
    ["resource", "crm+http://h:80/secret", "and that for http://h/secret"],
    ["resource", "crm+1file:///secret", "that is no URI"],
    ["resource", "wiki+file:///secret", "wiki gives none to anybody"],
    ["tool", "crm", "of no server"],
    ["tool", "constructor_find", "nor that"],
    ["tool", "_delete", "nor that"],
    ["resource", "file:///secret", "nor that"],
  ] as const)
    test(`${kind} ${name} is refused: ${why}`, () => assert.equal(feature(kind, name), undefined));
});
