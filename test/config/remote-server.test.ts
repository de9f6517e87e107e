/** `server` of a resource in CONFIG_FILE: what is read, and what is refused. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parse } from "yaml";
import { remoteServerMistakes, remoteServerOf } from "../../src/config/remote-server.ts";

const good = {
  server: "http://crm.internal:8000/mcp",
  scopes: { "crm:read": "Read customers" },
  needs: { tools: { find: ["crm:read"] } },
};

test("a server over HTTP is read, and by default told who calls by an identity for its own URL", () => {
  assert.deepEqual(remoteServerMistakes(good, []), []);
  assert.deepEqual(remoteServerOf(good), {
    reach: {
      kind: "http",
      url: good.server,
      audience: good.server,
      identity: {},
      headers: {},
      timeoutSeconds: 300,
      maxAnswerBytes: 16_777_216,
    },
    needs: { tools: new Map([["find", [["crm:read"]]]]), resources: new Map(), prompts: new Map() },
  });
});

test("the example in the documentation is read as a server over HTTP", () => {
  const guide = readFileSync("docs/backends.md", "utf8");
  const example = /^```yaml\n(.*?)^```/ms.exec(guide)?.[1] ?? assert.fail("there is an example");
  const { "/crm/mcp": entry } = parse(example).resources;
  assert.deepEqual(remoteServerMistakes(entry, []), []);
  assert.equal(remoteServerOf(entry).reach.audience, "crm");
});

for (const [what, changes, problem] of [
  ["no URL", { server: "crm.internal" }, /^is no URL of an MCP server/],
  ["a password in its URL", { server: "http://me:secret@crm.internal/" }, /^is no URL of an MCP server/],
  ["a header of HTTP", { headers: { host: "crm" } }, /^is no name for a header/],
  [
    "a header that says who calls",
    { headers: { "x-mcp-identity-assertion": "me" } },
    /^is no name for a header/,
  ],
  ["two lines in a header", { headers: { "x-api-key": "a\nb" } }, /^cannot be in a header/],
  ["an identity that there is not", { identity: { header: {} } }, /unknown key "header"/],
  ["a part of it that there is not", { identity: { headers: { name: "x-name" } } }, /unknown key "name"/],
  [
    "an identity in a header of MCP's",
    { identity: { headers: { user: "mcp-param-user" } } },
    /^is no name for a header/,
  ],
  [
    "an identity in a header that clients send",
    { identity: { headers: { user: "user-agent" } } },
    /user-agent, which is for something else/,
  ],
  [
    "an identity in a header that says something else",
    { identity: { headers: { user: "x-api-key" } }, headers: { "x-api-key": "key" } },
    /x-api-key, which headers has, too/,
  ],
  [
    "two parts of an identity in one header",
    { identity: { headers: { user: "x-user", email: "x-user" } } },
    /x-user, which is in two places/,
  ],
  ["a token for no API", { identity: { token: {} } }, /^names no API/],
  ["a token for two", { identity: { token: { audience: "a", resource: "https://a" } } }, /^names no API/],
  [
    "a token beside another",
    { identity: { token: { audience: "a" } }, headers: { authorization: "Bearer b" } },
    /^is sent as Authorization, which headers has, too/,
  ],
  ["no time", { timeoutSeconds: 0 }, /^must be a whole number from 1 to 3600/],
  ["no needs", { needs: undefined }, /^does not say in needs who may use/],
  ["a kind that there is not", { needs: { tool: {} } }, /unknown key "tool"/],
  ["a scope that nobody described", { scopes: {} }, /"crm:read", which is not described/],
] as const)
  test(`refused: ${what}`, () => {
    const [mistake, another] = remoteServerMistakes({ ...good, ...changes }, []);
    assert.match(mistake?.problem ?? "", problem);
    assert.equal(another, undefined);
  });
