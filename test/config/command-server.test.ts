/** `command` of a resource in CONFIG_FILE: what is read, and what is refused. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parse } from "yaml";
import { commandServerMistakes, commandServerOf } from "../../src/config/command-server.ts";

const good = {
  command: ["npx", "-y", "some-server"],
  scopes: { "files:read": "Read files" },
  needs: { tools: { find: ["files:read"] } },
};

test("a program is read, by default one process for everybody", () => {
  assert.deepEqual(commandServerMistakes(good, []), []);
  assert.deepEqual(commandServerOf(good), {
    reach: {
      kind: "stdio",
      command: good.command,
      environment: {},
      processPer: "server",
      maxProcesses: 20,
      timeoutSeconds: 300,
      maxAnswerBytes: 16_777_216,
    },
    needs: { tools: new Map([["find", [["files:read"]]]]), resources: new Map(), prompts: new Map() },
  });
});

test("the example in the documentation is read as a program", () => {
  const guide = readFileSync("docs/backends.md", "utf8");
  const examples = [...guide.matchAll(/^```yaml\n(.*?)^```/gms)].map(([, example = ""]) => parse(example));
  const { "/files/mcp": entry } = examples.find((each) => each.resources?.["/files/mcp"]).resources;
  assert.deepEqual(commandServerMistakes(entry, []), []);
  assert.deepEqual(Object.keys(commandServerOf(entry).reach.environment), ["API_KEY"]);
});

for (const [what, changes, problem] of [
  ["a text in place of a list", { command: "npx -y some-server" }, /^must be a list/],
  ["nothing to start", { command: [] }, /^(is empty|is missing)/],
  ["a whole line as the program", { command: ["npx -y some-server"] }, /^is a program with a space/],
  ["an argument that no program can be given", { command: ["npx", "a\0b"] }, /no program can be given/],
  ["a variable without a proper name", { env: { "API-KEY": "x" } }, /^is no name for a variable/],
  ["a number as a variable", { env: { PORT: 80 } }, /^must be text/],
  ["another process for whom", { processPer: "session" }, /^must be one of server, principal/],
  ["a limit of one process", { maxProcesses: 5 }, /^limits nothing/],
  ["no needs", { needs: undefined }, /^does not say in needs who may use/],
] as const)
  test(`refused: ${what}`, () => {
    const [mistake, another] = commandServerMistakes({ ...good, ...changes }, []);
    assert.match(mistake?.problem ?? "", problem);
    assert.equal(another, undefined);
  });
