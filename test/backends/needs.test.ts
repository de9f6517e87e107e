/** Which entry of `needs` counts for a name: a pattern opens nothing that a backend could take for what a name of its own closes. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { backendFeatures } from "../../src/mcp/backends/backend-features.ts";
import type { BackendNeeds } from "../../src/mcp/backends/backend-settings.ts";
import type { RequiredScopes } from "../../src/oauth/scope-requirement.ts";

const needed = (entries: Record<string, string>) =>
  new Map(Object.entries(entries).map(([name, scope]): [string, RequiredScopes] => [name, [[scope]]]));
const featuresOf = (needs: BackendNeeds) => backendFeatures({ reach: { kind: "http" }, needs });
const { feature } = featuresOf({
  tools: needed({ find: "read", delete: "admin", "crm_*": "crm", "*": "any" }),
  resources: needed({
    "crm://public/*": "public",
    "crm://public/secret": "admin",
    "crm://h/a b": "admin",
    "*": "any",
  }),
  prompts: new Map(),
});
const patterns = featuresOf({
  tools: needed({ "admin_*": "admin", "*": "any" }),
  resources: needed({
    "file:///private/*": "admin",
    "*.secret": "admin",
    "docs://h/priv%C3%A9/*": "admin",
    "crm://customers/*/card": "admin",
    "*": "any",
  }),
  prompts: new Map(),
});
const scopeOf = (kind: "tool" | "resource" | "prompt", name: string) => feature(kind, name)?.scopes[0]?.[0];

describe("what a name needs", () => {
  for (const [kind, name, scope] of [
    ["tool", "find", "read"],
    ["tool", "crm_delete", "crm"],
    ["tool", "other", "any"],
    ["resource", "crm://public/a/b.txt", "public"],
    ["resource", "crm://public/a?q=1", "public"],
    ["resource", "crm://public/Gr%C3%BC%C3%9Fe%20alle", "public"],
    ["resource", "crm://public/secret", "admin"],
    ["resource", "file:///etc/hosts", "any"],
    ["resource", "urn:isbn:123", "any"],
    ["resource", "docs://README.md", "any"],
    ["resource", "notes://Inbox/{id}", "any"],
  ] as const)
    test(`${kind} ${name}: ${scope}`, () => assert.equal(scopeOf(kind, name), scope));

  for (const [kind, name] of [
    ["tool", "Delete"],
    ["tool", "delete "],
    ["tool", "ｄｅｌｅｔｅ"],
    ["resource", "crm://public/%73ecret"],
    ["resource", "crm://public/secre%74"],
    ["resource", "crm://public/SECRET"],
    ["resource", "crm://public/secret/"],
    ["resource", "crm://public/secret?"],
    ["resource", "crm://public/secret#a"],
    ["resource", "CRM://public/secret"],
    ["resource", "crm://PUBLIC/secret"],
    ["resource", "crm://PUBLIC/a"],
    ["resource", "http://H/a"],
    ["resource", "crm://public//secret"],
    ["resource", "crm://public/./secret"],
    ["resource", "crm://public/a/../secret"],
    ["resource", "crm://public/a/%2e%2e/secret"],
    ["resource", "crm://public/a%2fb"],
    ["resource", "crm://public/a\\..\\secret"],
    ["resource", "crm://public/%2573ecret"],
    ["resource", "crm://h/a%20b"],
    ["resource", "not a uri"],
    ["prompt", "anything"],
  ] as const)
    test(`${kind} ${JSON.stringify(name)} is refused`, () => assert.equal(scopeOf(kind, name), undefined));
});

describe("what a pattern closes, a shorter one does not open", () => {
  for (const [kind, name, scope] of [
    ["tool", "admin_delete", "admin"],
    ["tool", "other", "any"],
    ["resource", "file:///private/a", "admin"],
    ["resource", "file:///public/a", "any"],
    ["resource", "crm://customers/1", "any"],
    ["resource", "crm://customers/{id}", "any"],
    ["resource", "crm://customers/{id}/card", "admin"],
    ["resource", "docs://h/Grüße", "any"],
    ["resource", "docs://h/priv%C3%A9/a", "admin"],
    ["resource", "ui://widget/view.html{?theme}", "any"],
  ] as const)
    test(`${kind} ${name}: ${scope}`, () =>
      assert.equal(patterns.feature(kind, name)?.scopes[0]?.[0], scope));

  for (const [kind, name] of [
    ["tool", "ADMIN_delete"],
    ["tool", " admin_delete"],
    ["tool", "ａdmin_delete"],
    ["resource", "file:///Private/a"],
    ["resource", "file:///a.secret?x"],
    ["resource", "file:///a.secret/"],
    ["resource", "crm://customers/1/card?x"],
    ["resource", "docs://h/priv%c3%a9/a"],
    ["resource", "docs://h/privé/a"],
  ] as const)
    test(`${kind} ${JSON.stringify(name)} is refused`, () =>
      assert.equal(patterns.feature(kind, name), undefined));
});

describe("what a backend's parser makes another name of is found by no pattern", () => {
  for (const [kind, name] of [
    // C ends a text there.
    ["tool", "admin\0"],
    ["tool", "other\u200b"],
    ["tool", "other\ud800"],
    // WHATWG URL, of which the SDK for TypeScript takes the `href`.
    ["resource", "file:/private/a"],
    ["resource", "file:private/a"],
    ["resource", "file://localhost/private/a"],
    ["resource", "file:///pri\tvate/a"],
    ["resource", "file:///public/..\n/private/a"],
    ["resource", "file:///a.secret "],
    ["resource", "http://h:80/a"],
    ["resource", "http://0x7f.1/a"],
    // Path parameters, overlong and wide dots.
    ["resource", "docs://h/..;a=b/c"],
    ["resource", "docs://h/%c0%ae%c0%ae/c"],
    ["resource", "docs://h/．．/c"],
    ["resource", "docs://h/%EF%BC%8E%EF%BC%8E/c"],
  ] as const)
    test(`${kind} ${JSON.stringify(name)}`, () => assert.equal(patterns.feature(kind, name), undefined));
});
