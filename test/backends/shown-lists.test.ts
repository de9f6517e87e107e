/** A backend's list without what its reader may not use: what stays, stays byte for byte. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { withShownOnly } from "../../src/mcp/transport/shown-lists.ts";

const shown = (text: string) => withShownOnly(text, (_, name) => name !== "secret");

test("what stays keeps its numbers, escapes and spaces", () => {
  const kept = '{ "name" : "a\\u0062\\"]", "inputSchema":{"maximum":12345678901234567890,"minimum":1e400} }';
  assert.equal(
    shown(`{"jsonrpc":"2.0","id":1,"result":{ "tools" : [ {"name":"secret"} , ${kept} ], "nextCursor":"x"}}`),
    `{"jsonrpc":"2.0","id":1,"result":{ "tools" : [${kept}], "nextCursor":"x"}}`,
  );
});

test("a server that can do tasks does not say so here, where none pass", () => {
  const introduced = (capabilities: string, version = '"protocolVersion":"2025-11-25"') =>
    `{"id":1,"result":{${version},"capabilities":${capabilities}}}`;
  assert.equal(shown(introduced('{"tools":{}, "tasks":{"list":{}}}')), introduced('{"tools":{}}'));
  const ofLater = '"supportedVersions":["2026-07-28"]';
  assert.equal(
    shown(introduced('{"extensions":{"io.modelcontextprotocol/tasks":{},"a/b":{}}}', ofLater)),
    introduced('{"extensions":{"a/b":{}}}', ofLater),
  );
  for (const left of [introduced('{ "tools":{} }'), '{"id":1,"result":{"capabilities":{"tasks":{}}}}'])
    assert.equal(shown(left), left);
});

test("of two entries of one name the first is shown", () => {
  assert.equal(
    shown('{"result":{"prompts":[{"name":"a","n":1},{"name":"b"},{"name":"a","n":2}]}}'),
    '{"result":{"prompts":[{"name":"a","n":1},{"name":"b"}]}}',
  );
});

test("what one reader is shown is not for a cache that others share", () => {
  assert.equal(
    shown('{"result":{"cacheScope":"public","resources":[{"uri":"secret"}]}}'),
    '{"result":{"cacheScope":"private","resources":[]}}',
  );
});

test("each message of a batch is looked at; a message without a list stays as it is", () => {
  const other = '{"id":2,"result":{"content":[{"name":"secret"}]}}';
  assert.equal(
    shown(
      ` [ {"id":1,"result":{"tools":[{"name":"secret"}]}},${other} , {"id":3,"result":{"tools":[{"name":"secret"},{"name":"a"}]}}]`,
    ),
    ` [ {"id":1,"result":{"tools":[]}},${other} , {"id":3,"result":{"tools":[{"name":"a"}]}}]`,
  );
  assert.equal(shown(other), other);
});

for (const [what, text, left] of [
  [
    "a list that comes twice",
    '{"result":{"tools":[{"name":"secret"}],"tools":[{"name":"a"},{"name":"secret"}]}}',
    '{"result":{"tools":[],"tools":[{"name":"a"}]}}',
  ],
  [
    "a list that comes twice, once escaped",
    '{"result":{"t\\u006fols":[{"name":"secret"}],"tools":[{"name":"a"}]}}',
    '{"result":{"t\\u006fols":[],"tools":[{"name":"a"}]}}',
  ],
  [
    "a result that comes twice",
    '{"result":{"tools":[{"name":"secret"}]},"result":{"cacheScope":"public","tools":[]}}',
    '{"result":{"tools":[]},"result":{"cacheScope":"private","tools":[]}}',
  ],
  [
    "an entry with two names",
    '{"result":{"tools":[{"name":"secret","name":"a"},{"name":"b","name":"secret"},{"name":"c","name":"d"}]}}',
    '{"result":{"tools":[{"name":"c","name":"d"}]}}',
  ],
  [
    "a scope of the cache that comes twice",
    '{"result":{"cacheScope":"public","cacheScope":"private","tools":[]}}',
    '{"result":{"cacheScope":"private","cacheScope":"private","tools":[]}}',
  ],
] as const)
  test(`${what}: whichever a reader takes, it shows nothing that is hidden`, () =>
    assert.equal(shown(text), left));

test("what is no JSON is not passed on", () => assert.equal(shown('{"result":{"tools":[}'), undefined));
