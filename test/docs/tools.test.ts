/** What README.md, docs/tools.md and docs/access.md show of tools runs as it is shown. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import { documentedFeatures } from "../support/documented-features.ts";
import { callTool, register, rpc, signInForTokens, toolNames } from "../support/oauth-client.ts";
import { ALICE, BOB, type TestServer, useTestServer } from "../support/test-server.ts";

/** The access tokens of alice, who has every scope, and of bob, who has none. */
function signedIn(testServer: TestServer): Record<"alice" | "bob", string> {
  const tokens = { alice: "", bob: "" };
  before(async () => {
    const client = await register(testServer.baseUrl);
    for (const login of ["alice", "bob"] as const)
      tokens[login] = (await signInForTokens(testServer.baseUrl, client, { login })).access_token;
  });
  return tokens;
}

const readme = await documentedFeatures("README.md", "## A tool");
const guide = await documentedFeatures("docs/tools.md", "## An example");
const declarations = await documentedFeatures("docs/access.md", "## Scopes");

describe("the first tools of README.md and docs/tools.md", () => {
  const tools = [...readme.tools, ...guide.tools];
  // As the reader is told to describe them there.
  const scopes = Object.fromEntries(
    ["README.md", "docs/tools.md"].flatMap((file) =>
      [...readFileSync(file, "utf8").matchAll(/src\/tools\/index\.ts.*?"(\w+:\w+)": "([^"]+)"/gs)].map(
        ([, scope = "", words = ""]) => [scope, words],
      ),
    ),
  );
  const testServer = useTestServer({
    tools,
    scopes,
    apiScopes: Object.keys(scopes),
    users: [{ ...ALICE, permissions: Object.keys(scopes) }, BOB],
  });
  const tokens = signedIn(testServer);
  const call = (login: "alice" | "bob", tool: string, args: object) =>
    callTool(testServer.url, tokens[login], tool, args);

  test("are listed and run for whoever has their scopes", async () => {
    const names = tools.map(({ name }) => name);
    assert.deepEqual(names, ["greet", "read_note"]);
    const listed = await toolNames(testServer.url, tokens.alice);
    for (const name of names) assert.ok(listed.includes(name), name);
    const greeted = await call("alice", "greet", { greeting: "Good day" });
    assert.equal(greeted.body.result.content[0].text, "Good day, alice!");
    const { body } = await call("alice", "read_note", { name: "plan" });
    assert.deepEqual(body.result.structuredContent, { text: "Buy milk" });
  });

  test("are refused without, and say in their own words what is not there", async () => {
    assert.equal((await call("bob", "greet", { greeting: "Good day" })).status, 403);
    assert.equal((await call("bob", "read_note", { name: "plan" })).status, 403);
    const { body } = await call("alice", "read_note", { name: "diary" });
    assert.equal(body.result.content[0].text, "You have no note diary.");
  });
});

describe("the declarations of docs/access.md", () => {
  const { scopes = {}, ...features } = declarations;
  const testServer = useTestServer({
    ...features,
    scopes,
    apiScopes: Object.keys(scopes),
    users: [{ ...ALICE, permissions: ["orders:read"] }, BOB],
  });
  const tokens = signedIn(testServer);

  test("are ones that the server starts with, and ask for what they say", async () => {
    assert.ok((await toolNames(testServer.url, tokens.alice)).includes("list_orders"));
    assert.equal((await callTool(testServer.url, tokens.alice, "list_orders")).status, 200);
    const archive = await callTool(testServer.url, tokens.alice, "list_orders", { archive: true });
    assert.match(archive.headers.get("www-authenticate") ?? "", /orders:write/);
    const read = await rpc(testServer.url, tokens.alice, "resources/read", { uri: "orders://order/7" });
    assert.equal(read.body.result.contents[0].text, "order 7");
    const args = { name: "reorder", arguments: { id: "7" } };
    assert.equal((await rpc(testServer.url, tokens.alice, "prompts/get", args)).status, 403);
  });
});
