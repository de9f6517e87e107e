/** `forwardAuth` of a resource in CONFIG_FILE: what is read, and what is refused. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parse } from "yaml";
import { forwardAuthMistakes, forwardAuthOf, isForwardAuth } from "../../src/config/forward-auth.ts";

const KEY = "the-key-of-the-reverse-proxy-0123456789";
const good = {
  name: "Docs",
  scopes: { "docs:read": "Read the docs", "docs:write": "Change the docs" },
  forwardAuth: { key: KEY, scopes: ["docs:read"], backendChecksHeaders: true },
  needs: { tools: { edit: ["docs:write"] } },
};
const URI = "https://mcp.example.com/docs/mcp";

test("a resource behind a reverse proxy is read with what its tools need", () => {
  assert.ok(isForwardAuth(good));
  assert.deepEqual(forwardAuthMistakes(good, []), []);
  assert.deepEqual(forwardAuthOf(good, URI), {
    keys: [KEY],
    audience: URI,
    scopes: [["docs:read"]],
    needs: { tool: new Map([["edit", [["docs:write"]]]]), resource: new Map(), prompt: new Map() },
  });
  const rotating = { forwardAuth: { key: [KEY, `${KEY}-next`], audience: "docs" } };
  assert.deepEqual(forwardAuthMistakes(rotating, []), []);
  assert.deepEqual(forwardAuthOf(rotating, URI), {
    keys: [KEY, `${KEY}-next`],
    audience: "docs",
    scopes: [],
  });
});

test("the example in the documentation is read as a resource behind a reverse proxy", () => {
  const guide = readFileSync("docs/forward-auth.md", "utf8");
  const example = /^```yaml\n(.*?)^```/ms.exec(guide)?.[1] ?? assert.fail("there is an example");
  const { "/docs/mcp": entry } = parse(example.replace(/\$\{DOCS_CHECK_KEY\}/, KEY)).resources;
  assert.deepEqual(forwardAuthMistakes(entry, []), []);
  const { audience, needs } = forwardAuthOf(entry, URI);
  assert.equal(audience, "http://docs.internal:8000/mcp");
  assert.deepEqual([...(needs?.tool.keys() ?? [])], ["find", "edit"]);
});

for (const [what, changes, problem] of [
  ["no key", { forwardAuth: { scopes: [] } }, /key/],
  ["a short key", { forwardAuth: { key: "short" } }, /key/],
  ["an unknown key", { forwardAuth: { ...good.forwardAuth, scope: [] } }, /unknown key "scope"/],
  [
    "a scope that nobody described",
    { scopes: { "docs:read": "Read" } },
    /"docs:write", which is not described/,
  ],
  ["a kind that there is not", { needs: { tool: {} } }, /unknown key "tool"/],
  [
    "tools of a backend that believes what it is told",
    { forwardAuth: { key: KEY, scopes: ["docs:read"] } },
    /headers that the client writes/,
  ],
] as const)
  test(`refused: ${what}`, () => {
    const mistakes = forwardAuthMistakes({ ...good, ...changes }, ["resources", "/docs/mcp"]);
    assert.ok(
      mistakes.some((mistake) => problem.test(`${mistake.at.join(".")} ${mistake.problem}`)),
      JSON.stringify(mistakes),
    );
    assert.ok(mistakes.every(({ at }) => at[1] === "/docs/mcp"));
  });
