/** `servers` of a resource in CONFIG_FILE: what is read, and what is refused. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parse } from "yaml";
import { mergedServersMistakes, mergedServersOf } from "../../src/config/merged-servers.ts";

const needs = {
  tools: { find: ["all:use"], "*": ["all:edit"] },
  resources: { "*": [] },
  prompts: { greet: [] },
};
const scopes = { "all:use": "Use it", "all:edit": "Change it" };
const crm = { server: "http://crm.internal:8000/mcp", needs };

test("several servers are read, and the name of each comes before its features", () => {
  const entry = {
    servers: { crm, files: { command: ["files-server"], needs, maxAnswerBytes: 100_000_000 } },
    scopes,
  };
  assert.deepEqual(mergedServersMistakes(entry, []), []);
  const { reach, needs: merged } = mergedServersOf(entry);
  assert.deepEqual(
    [...reach.servers].map(([name, { kind }]) => [name, kind]),
    [
      ["crm", "http"],
      ["files", "stdio"],
    ],
  );
  assert.equal(reach.maxAnswerBytes, 100_000_000);
  assert.deepEqual([...merged.tools.keys()], ["crm_find", "crm_*", "files_find", "files_*"]);
  assert.deepEqual([...merged.resources.keys()], ["crm+*", "files+*"]);
  assert.deepEqual([...merged.prompts.keys()], ["crm_greet", "files_greet"]);
});

test("the example in the documentation is read as several servers", () => {
  const guide = readFileSync("docs/backends.md", "utf8");
  const examples = [...guide.matchAll(/^```yaml\n(.*?)^```/gms)].map(([, example = ""]) => parse(example));
  const { "/company/mcp": entry } = examples.find((each) => each.resources?.["/company/mcp"]).resources;
  assert.deepEqual(mergedServersMistakes(entry, []), []);
});

for (const [what, servers, problem] of [
  ["none", {}, /^has no server/],
  ["a list", [crm], /^has no server/],
  ["a name with what ends it", { my_crm: crm }, /^is no name that can stand before/],
  ["capital letters in a name", { CRM: crm }, /^is no name that can stand before/],
  ["one that is nowhere", { crm: { needs } }, /^does not say how the server is reached/],
  [
    "one that is at two places",
    { crm: { ...crm, command: ["x"] } },
    /^does not say how the server is reached/,
  ],
  ["a name for people of one", { crm: { ...crm, name: "CRM" } }, /unknown key "name"/],
  ["scopes of one", { crm: { ...crm, scopes } }, /unknown key "scopes"/],
  ["what only a program has", { crm: { ...crm, env: {} } }, /unknown key "env"/],
  ["no needs of one", { crm: { server: crm.server } }, /^does not say in needs/],
  [
    "a scope that nobody described",
    { crm: { ...crm, needs: { tools: { find: ["other"] } } } },
    /"other", which is not/,
  ],
  ["a URL that is none", { crm: { ...crm, server: "crm" } }, /^is no URL of an MCP server/],
] as const)
  test(`refused: ${what}`, () => {
    const [mistake, another] = mergedServersMistakes({ servers, scopes }, []);
    assert.match(mistake?.problem ?? "", problem);
    assert.equal(another, undefined);
  });
