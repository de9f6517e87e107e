/** Every mistake in a policy file is reported with its line and a remedy; none silently weakens a rule. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PolicyError, parsePolicy } from "../../src/access/policy-file.ts";
import { known, problemsOf } from "./support.ts";

/** The first mistake of each line is what the test is about; the rest of the file is right. */
const mistakes: Array<[what: string, yaml: string, ...problems: string[]]> = [
  [
    "unknown keys everywhere",
    `rule: []
claims:
  group: x
rules:
  - name: a
    four: { groups: [x] }
    for:
      users: [x]
      group: [x]
    deny:
      tools: [list_orders]
      tool: [list_orders]
`,
    'policy.yaml:1: the file has an unknown key "rule": use what is known here: default, claims, rules',
    'policy.yaml:3: claims has an unknown key "group": use what is known here: groups, organization',
    'policy.yaml:6: the rule has an unknown key "four": use what is known here: name, for, allow, deny',
    'policy.yaml:9: for has an unknown key "group": use what is known here: kind, issuers, users, emails, groups, organizations, clients, redirect_uris, protected_resources',
    'policy.yaml:12: deny has an unknown key "tool": use what is known here: scopes, tools, resources, prompts',
  ],
  [
    "prototype names as keys",
    "__proto__: { default: deny }\nrules:\n  - name: x\n    deny: everything\n    __proto__: { for: x }\n",
    'policy.yaml:1: the file has an unknown key "__proto__": use what is known here: default, claims, rules',
    'policy.yaml:5: the rule has an unknown key "__proto__": use what is known here: name, for, allow, deny',
  ],
  [
    "wrong types",
    `default: perhaps
claims: { groups: 5 }
rules:
  - just words
  - name: 12
    for:
    deny: { tools: list_orders }
  - name: b
    for: { users: [1, a] }
    deny: evrything
`,
    "policy.yaml:1: default must be one of allow, deny: write one of them",
    "policy.yaml:2: claims.groups must be text: put it in quotes",
    "policy.yaml:4: the rule must be keys with values: write key: value in lines of their own, or { key: value }",
    "policy.yaml:5: name must be text: put it in quotes",
    "policy.yaml:6: for must be keys with values: write key: value in lines of their own, or { key: value }",
    'policy.yaml:7: deny.tools must be a list: write [a, b], or lines that begin with "- "',
    "policy.yaml:9: for.users must be text: put it in quotes",
    'policy.yaml:10: deny is none of what it can be: write "everything", or keys with values such as { tools: [a, b] }',
  ],
  [
    "a list for a file",
    "- a\n",
    "policy.yaml:1: the file must be keys with values: write key: value in lines of their own, or { key: value }",
  ],
  [
    "no list of rules",
    "\nrules: 5\n",
    'policy.yaml:2: rules must be a list: write [a, b], or lines that begin with "- "',
  ],
  [
    "emptiness",
    `rules:
  - name: " "
    for: {}
    deny: {}
  - name: b
    for:
      groups: []
    deny:
      tools:
        - list_orders
        - ""
`,
    "policy.yaml:2: name must be words on one line: say in a few words what the rule is for",
    "policy.yaml:3: for is empty: name at least one of kind, issuers, users, emails, groups, organizations, clients, redirect_uris, protected_resources, or leave it out to mean everybody",
    'policy.yaml:4: deny is empty: name at least one of scopes, tools, resources, prompts, or write "everything"',
    "policy.yaml:7: for.groups is empty: fill it or leave it out",
    "policy.yaml:11: deny.tools is empty: fill it or leave it out",
  ],
  [
    "both effects and none, also beside other mistakes",
    `rules:
  - name: a
    allow: everything
    deny: everything
  - name: b
    denny: everything
  - name: c
    allow: 5
    deny: { tools: [nothing] }
`,
    "policy.yaml:2: the rule has both allow and deny: make two rules of it",
    "policy.yaml:5: the rule has neither allow nor deny: add one of them",
    'policy.yaml:6: the rule has an unknown key "denny": use what is known here: name, for, allow, deny',
    "policy.yaml:7: the rule has both allow and deny: make two rules of it",
    'policy.yaml:8: allow is none of what it can be: write "everything", or keys with values such as { tools: [a, b] }',
    'policy.yaml:9: deny.tools has an unknown tool "nothing": use what is known here: list_orders, delete_order, get_weather',
  ],
  [
    "names of rules",
    `rules:
  - name: a
    deny: everything
  - deny: everything
  - deny: everything
    name: a
  - name: default
    deny: everything
  - name: "two\\nlines"
    deny: everything
  - name: ${"x".repeat(201)}
    deny: everything
`,
    "policy.yaml:4: name is missing: say in a few words what the rule is for",
    'policy.yaml:6: name "a" is the name of an earlier rule: use another one',
    'policy.yaml:7: name cannot be "default", which means that no rule spoke: use another name',
    "policy.yaml:9: name must be words on one line: say in a few words what the rule is for",
    "policy.yaml:11: name is longer than 200 characters: shorten it",
  ],
  [
    "names of nothing",
    `rules:
  - name: a
    deny:
      scopes: [orders:read, order:read]
      tools: [delete_ordr]
      resources:
        - weather://codes
        - "city://*"
      prompts: ["*wear", WHAT_TO_WEAR]
`,
    'policy.yaml:4: deny.scopes has an unknown scope "order:read": use what is known here: orders:read, orders:write, weather:read',
    'policy.yaml:5: deny.tools has an unknown tool "delete_ordr": use what is known here: list_orders, delete_order, get_weather',
    'policy.yaml:8: deny.resources has "city://*", which matches no resource: use what is known here: weather://codes',
    'policy.yaml:9: deny.prompts has an unknown prompt "WHAT_TO_WEAR": use what is known here: what_to_wear',
  ],
  [
    "protected resources that are not configured",
    `rules:
  - name: a
    for:
      protected_resources: [/crm/mcp, "/crm/*", /crm]
    deny: everything
  - name: b
    for: { protected_resources: ["/docs/*"] }
    deny: everything
`,
    'policy.yaml:4: for.protected_resources has an unknown protected resource "/crm": use what is known here: /mcp, /crm/mcp, /crm/admin/mcp',
    'policy.yaml:7: for.protected_resources has "/docs/*", which matches no protected resource: use what is known here: /mcp, /crm/mcp, /crm/admin/mcp',
  ],
  [
    "patterns that no URI can match",
    `rules:
  - name: a
    for:
      redirect_uris:
        - https://claude.ai/api/*
        - https://claude.ai*
        - https://Claude.ai/*
      clients: ["https://claude.ai/*", "*", an-id, "https://*"]
    deny: everything
`,
    'policy.yaml:6: for.redirect_uris has "https://claude.ai*", which is no pattern that a URI can match: write it like https://claude.ai/api/*, https://*.example.com/* or http://localhost/*',
    'policy.yaml:7: for.redirect_uris has "https://Claude.ai/*", which is no pattern that a URI can match: write it like https://claude.ai/api/*, https://*.example.com/* or http://localhost/*',
    'policy.yaml:8: for.clients has "https://*", which is no pattern that a URI can match: write it like https://claude.ai/*, https://*.example.com/* or an id',
  ],
  [
    "kinds of callers that there are not",
    `rules:
  - { name: a, for: { kind: person }, deny: everything }
  - { name: b, for: { kind: [user, robot] }, deny: everything }
  - { name: c, for: { kind: [] }, deny: everything }
  - { name: d, for: { kind: [user, workload], issuers: ["https://login.example.com/*"] }, deny: everything }
`,
    "policy.yaml:2: for.kind is none of what it can be: write user, client, workload, or a list of them",
    "policy.yaml:3: for.kind must be one of user, client, workload: write one of them",
    "policy.yaml:4: for.kind is empty: fill it or leave it out",
  ],
  [
    "clients of other issuers, of which the wildcard is not in the id",
    `rules:
  - { name: a, for: { clients: ["https://login.example.com#*", "https://login.example.com/#team-*"] }, deny: everything }
  - { name: b, for: { clients: ["https://*.example.com#app"] }, deny: everything }
`,
    'policy.yaml:3: for.clients has "https://*.example.com#app", which is no pattern that a URI can match: write it like https://claude.ai/*, https://*.example.com/* or an id',
  ],
  [
    "wildcards without quotes, beside another mistake",
    `rules:
  - name: a
    for: { emails: [*@example.com] }
    deny:
      scopes: [*:write]
      tools: [*, nothing]
      prompts:
        - *wear
`,
    'policy.yaml:3: the file has *@example.com without quotes, which YAML needs around what begins with *: write "*@example.com"',
    'policy.yaml:5: the file has *:write without quotes, which YAML needs around what begins with *: write "*:write"',
    'policy.yaml:6: the file has * without quotes, which YAML needs around what begins with *: write "*"',
    'policy.yaml:6: deny.tools has an unknown tool "nothing": use what is known here: list_orders, delete_order, get_weather',
    'policy.yaml:8: the file has *wear without quotes, which YAML needs around what begins with *: write "*wear"',
  ],
  [
    "keys given twice, of which YAML would keep the last",
    `default: deny
rules:
  - name: a
    deny: everything
    deny: { tools: [list_orders] }
    for: { groups: [a], groups: [b] }
default: perhaps
`,
    'policy.yaml:5: the file has the key "deny" twice: keep one of them',
    'policy.yaml:6: the file has the key "groups" twice: keep one of them',
    'policy.yaml:7: the file has the key "default" twice: keep one of them',
    "policy.yaml:7: default must be one of allow, deny: write one of them",
  ],
  [
    "a second document, of which nothing would be read",
    "default: maybe\n---\nrules: []\n",
    "policy.yaml:1: default must be one of allow, deny: write one of them",
    "policy.yaml:2: the file begins a second document, of which nothing would be read: keep one of the two",
  ],
  [
    "a tag",
    "default: deny\nrules: !!set { a }\n",
    "policy.yaml:2: the file has a tag, which means nothing here (Unresolved tag: tag:yaml.org,2002:set): remove it",
    'policy.yaml:2: rules must be a list: write [a, b], or lines that begin with "- "',
  ],
  [
    "no YAML",
    "default: deny\nrules:\n\t- name: a\n",
    "policy.yaml:3: the file is not YAML, here or just above (Tabs are not allowed as indentation): indent with spaces",
  ],
  [
    "an end that is missing",
    "default: deny\nrules: [\n  {}\n",
    "policy.yaml:4: the file is not YAML, here or just above (Flow sequence in block collection must be sufficiently indented and end with a ]): correct the line",
  ],
  [
    "a key that is no text",
    "rules: []\n? [a]\n: b\n",
    "policy.yaml:2: the file is not YAML, here or just above (With stringKeys, all keys must be strings): correct the line",
  ],
  [
    "lines that end as on Windows",
    "default: deny\r\nrules:\r\n  - name: a\r\n    dany: everything\r\n    deny: everything\r\n",
    'policy.yaml:4: the rule has an unknown key "dany": use what is known here: name, for, allow, deny',
  ],
  [
    "a rule that is there twice by an alias",
    "rules:\n  - &a\n    name: a\n    deny: everything\n  - *a\n",
    'policy.yaml:3: name "a" is the name of an earlier rule: use another one',
  ],
];
for (const [what, yaml, ...problems] of mistakes)
  test(what, () => assert.deepEqual(problemsOf(yaml), problems));

test("the message begins with how many there are, and names each with the file", () => {
  assert.throws(() => parsePolicy("default: x\nrulez: y\n", "/etc/policy.yaml", known), {
    name: "PolicyError",
    message: `The policy has 2 problems to fix.
  - /etc/policy.yaml:1: default must be one of allow, deny: write one of them
  - /etc/policy.yaml:2: the file has an unknown key "rulez": use what is known here: default, claims, rules`,
  });
});

for (const empty of ["", "\n\n", "# nothing yet\n", "---\n", "\ufeff", "null"])
  test(`${JSON.stringify(empty)} may be what a failed write left: it is refused`, () =>
    assert.throws(() => parsePolicy(empty, "policy.yaml", known), /policy.yaml:1: the file is empty/));

for (const nothing of ["{}", "rules: []"])
  test(`${nothing} denies nothing`, () =>
    assert.deepEqual(parsePolicy(nothing, "policy.yaml", known), {
      default: "allow",
      claims: { groups: "groups", organization: "org_id" },
      rules: [],
    }));

test("the lines of the default and of every rule are known; an alias may repeat a list", () => {
  const yaml = `# ours
default: deny

rules:
  - name: a
    for: { groups: &staff [staff], organizations: *staff }
    allow: everything
  -
    deny: { scopes: ["*:write"] }
    name: b
`;
  const { defaultLine, rules } = parsePolicy(yaml, "policy.yaml", known);
  const summary = rules.map(({ name, line, effect }) => [name, line, effect]);
  assert.equal(defaultLine, 2);
  assert.deepEqual(summary, [
    ["a", 5, "allow"],
    ["b", 9, "deny"],
  ]);
  assert.equal(rules[0]?.for.organizations?.[0]?.matches("staff"), true);
});

test("aliases that expand exponentially are refused", () => {
  const levels = [..."abcdefgh"].map((name, level, all) => {
    const previous = all[level - 1];
    return `${name}: &${name} [${Array(9).fill(previous === undefined ? "x" : `*${previous}`)}]`;
  });
  assert.deepEqual(problemsOf(levels.join("\n")), [
    "policy.yaml:1: the file repeats too much by aliases (*name): write it out, or repeat at most 100 times",
  ]);
  assert.deepEqual(problemsOf("rules: &a [*a]\n"), [
    "policy.yaml:1: the file repeats itself without end by *a: write out what is meant",

    "policy.yaml:1: the rule must be keys with values: write key: value in lines of their own, or { key: value }",
  ]);
});

for (const opening of ["[", "{", "- ", "? ", "{a: "])
  test(`thousands of ${opening} within each other are refused before they are understood`, () =>
    assert.deepEqual(problemsOf(`default: deny\nrules:\n  ${opening.repeat(20_000)}`), [
      "policy.yaml:3: the file is nested far too deep: make sure that this is the right file",
    ]));

test("a large file that is no policy costs bounded time and a bounded message", () => {
  const keys = Array.from({ length: 20_000 }, (_, index) => `key${index}: value`).join("\n");
  const problems = problemsOf(keys);
  assert.equal(problems.length, 101);
  assert.equal(problems.at(-1), "policy.yaml: the file has more problems: correct these first");
  assert.ok(problems[0]?.startsWith("policy.yaml:1: the file has an unknown key"));
  assert.equal(problemsOf("- *x\n".repeat(500)).length, 101);
});

test("every problem is a PolicyError with the list of them", () => {
  const problems = [{ setting: "a", problem: "is wrong", remedy: "correct it" }];
  const error = new PolicyError(problems);
  assert.deepEqual(error.problems, problems);
  assert.ok(error instanceof Error);
});

test("where several issuers have users, a sub alone names nobody: the file is refused", () => {
  const of = (conditions: string, userIssuers: string[]) => {
    const text = `rules:\n  - name: x\n    for: ${conditions}\n    deny: everything\n`;
    try {
      parsePolicy(text, "policy.yaml", { ...known, userIssuers });
    } catch (error) {
      return String(error).split("\n")[1];
    }
    return undefined;
  };
  const two = ["https://a.example", "https://b.example"];
  assert.equal(
    of("{ users: [alice] }", two),
    '  - policy.yaml:3: for.users has no issuers beside it, and several issuers have users here: the same sub may be somebody else\'s: add issuers, such as ["https://a.example"]',
  );
  assert.equal(of("{ users: [alice], issuers: [https://a.example] }", two), undefined);
  assert.equal(of("{ emails: [a@example.com] }", two), undefined);
  assert.equal(of("{ users: [alice] }", ["https://a.example"]), undefined);
});
