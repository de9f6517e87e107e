/** Every file of examples/, run as its reader runs it: sign in, call its tools, be refused. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import type { Answer } from "../../dev/client/http.ts";
import { builtProgram } from "../support/built-program.ts";
import { isLong } from "../support/long.ts";
import {
  callTool,
  getJson,
  type Registered,
  register,
  rpc,
  signInForTokens,
  toolNames,
} from "../support/oauth-client.ts";
import { compiled, type RunningExample, runExample, runExampleCommand } from "./run-example.ts";

/** The example, and the access tokens of alice, who may do everything, and of bob. */
function running(name: string, run = runExample) {
  let example: RunningExample;
  let client: Registered;
  const tokens: Record<string, string> = {};
  before(async () => {
    example = await run(name);
    client = await register(example.baseUrl);
    for (const login of ["alice", "bob"])
      tokens[login] = (await signInForTokens(example.baseUrl, client, { login })).access_token;
  });
  after(async () => {
    assert.equal(await example.stop(), 0, example.output());
  });
  return {
    example: () => example,
    token: (login: "alice" | "bob") => tokens[login] ?? "",
    call: (login: "alice" | "bob", tool: string, args?: object) =>
      callTool(example.url, tokens[login] ?? "", tool, args),
    ask: (login: "alice" | "bob", method: string, params?: object) =>
      rpc(example.url, tokens[login] ?? "", method, params),
  };
}

function text({ body }: Answer): string {
  return body.result.content[0].text;
}

function assertChallenge(answer: Answer, scope: RegExp): void {
  assert.equal(answer.status, 403);
  assert.match(answer.headers.get("www-authenticate") ?? "", /error="insufficient_scope"/);
  assert.match(answer.headers.get("www-authenticate") ?? "", scope);
}

describe("examples/minimal.mts", () => {
  // `npm run example` compiles on its way, twice.
  const { example, call } = running("minimal", isLong ? runExampleCommand : runExample);

  test("greets whoever may be greeted, and challenges the other", async () => {
    assert.equal(text(await call("alice", "greet", { language: "de" })), "Guten Tag, Alice Example!");
    assertChallenge(await call("bob", "greet", { language: "en" }), /greetings:read/);
  });

  test("says which scope there is, and which callback URL to register", async () => {
    const metadata = await getJson(`${example().baseUrl}/.well-known/oauth-protected-resource/mcp`);
    assert.deepEqual(metadata.scopes_supported, ["greetings:read"]);
    assert.match(example().output(), new RegExp(`register .*: ${example().baseUrl}/auth/callback`));
  });
});

describe("examples/asks-first.mts", () => {
  const { example, token } = running("asks-first");

  test("does nothing before the person said so", async () => {
    const client = new Client({ name: "test", version: "1" }, { capabilities: { elicitation: {} } });
    let sure = false;
    client.setRequestHandler("elicitation/create", ({ params }) => {
      assert.equal(params.message, "Delete plan?");
      return { action: "accept", content: { sure } };
    });
    const headers = { authorization: `Bearer ${token("alice")}` };
    await client.connect(
      new StreamableHTTPClientTransport(new URL(example().url), { requestInit: { headers } }),
    );
    const call = { name: "delete_note", arguments: { note: "plan" } };
    assert.equal(text({ body: { result: await client.callTool(call) } } as Answer), "plan was kept.");
    sure = true;
    assert.equal(text({ body: { result: await client.callTool(call) } } as Answer), "plan is gone.");
    await client.close();
  });
});

describe("examples/existing-server.mts", () => {
  const { example, token, call, ask } = running("existing-server");

  test("its tools know who is calling, by the SDK's way and by ours", async () => {
    assert.equal(text(await call("alice", "list_orders")), "Orders of alice: 17, 18");
    assert.equal(text(await call("alice", "cancel_order", { id: "17" })), "alice cancelled order 17");
  });

  test("what lacks a scope is neither listed nor run, also by requireScopes() inside", async () => {
    assert.deepEqual(await toolNames(example().url, token("alice")), ["list_orders", "cancel_order"]);
    assert.deepEqual(await toolNames(example().url, token("bob")), []);
    assertChallenge(await call("bob", "list_orders"), /orders:read/);
    assertChallenge(await call("alice", "cancel_order", { id: "17", refund: true }), /orders:refund/);
  });

  test("callers at the same time are not mistaken for each other", async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, id) =>
        id % 2 === 0
          ? call("alice", "cancel_order", { id: String(id) }).then(text)
          : ask("bob", "prompts/get", { name: "complain", arguments: { id: String(id) } }).then(
              ({ body }) => body.result.messages[0].content.text,
            ),
      ),
    );
    for (const [id, answer] of answers.entries())
      assert.match(answer, id % 2 === 0 ? /^alice cancelled/ : /complaint/, `${id}: ${answer}`);
  });

  test("its resources and prompts are there as well", async () => {
    const read = await ask("alice", "resources/read", { uri: "orders://order/17" });
    assert.equal(read.body.result.contents[0].text, '{"id":"17"}');
    assertChallenge(await ask("bob", "resources/read", { uri: "orders://order/17" }), /orders:read/);
    const prompt = await ask("bob", "prompts/get", { name: "complain", arguments: { id: "17" } });
    assert.match(prompt.body.result.messages[0].content.text, /order 17/);
  });

  test("arguments that are wrong are told, and a tool that is not there is not found", async () => {
    assert.match(text(await call("alice", "cancel_order", {})), /Invalid arguments|Input validation/);
    assert.match((await call("alice", "delete_everything")).body.error.message, /no tool named/);
  });

  test("an official client of the newest protocol uses it, and hears of progress", async () => {
    const client = new Client({ name: "test", version: "1" }, { versionNegotiation: { mode: "auto" } });
    await client.connect(
      new StreamableHTTPClientTransport(new URL(example().url), {
        requestInit: { headers: { authorization: `Bearer ${token("alice")}` } },
      }),
    );
    const progress: number[] = [];
    const result = await client.callTool(
      { name: "cancel_order", arguments: { id: "18" } },
      { onprogress: (now) => void progress.push(now.progress) },
    );
    await client.close();
    assert.deepEqual(result.content, [{ type: "text", text: "alice cancelled order 18" }]);
    assert.deepEqual(progress, [1]);
  });
});

describe("examples/backend-api.mts", () => {
  const { example, call } = running("backend-api");

  test("the backend knows the user by the provider's own token", async () => {
    const { body } = await call("alice", "list_notes");
    assert.deepEqual(body.result.structuredContent, { owner: "alice", notes: ["Buy milk"] });
    assertChallenge(await call("bob", "list_notes"), /notes:read/);
  });

  test("the backend takes nothing but the provider's tokens", async () => {
    const notes = `http://localhost:${example().port + 2}/notes`;
    assert.equal((await fetch(notes)).status, 401);
    const { token } = { token: "mcp_at_of_ours" };
    assert.equal((await fetch(notes, { headers: { authorization: `Bearer ${token}` } })).status, 401);
  });
});

describe("examples/policy/", () => {
  const { example, token, call } = running("policy");

  test("the policy takes from bob what he consented to", async () => {
    assert.equal(text(await call("alice", "delete_page", { title: "Home" })), "alice deleted Home.");
    assert.equal(text(await call("bob", "read_page", { title: "Home" })), "Home: this page is empty.");
    assert.deepEqual(await toolNames(example().url, token("bob")), ["read_page"]);
    const refused = await call("bob", "delete_page", { title: "Home" });
    assert.equal(refused.status, 200, "asking the user again would change nothing");
    assert.match(text(refused), /"only editors delete pages"/);
  });

  test("is explained by the line that its head gives", async () => {
    const [, line = ""] =
      /mcp-oidc-proxy (admin policy explain .*)/.exec(readFileSync("examples/policy/tools.mts", "utf8")) ??
      [];
    const explained = await promisify(execFile)(
      process.execPath,
      [builtProgram("src/cli/bin"), ...line.split(" ")],
      {
        env: {
          PATH: process.env.PATH,
          BASE_URL: "http://localhost:3000",
          STORE: "memory",
          SECRET_KEY: "a-key-of-this-test-0123456789-abcdefghijk",
          OIDC_ISSUER: "http://localhost:9",
          OIDC_CLIENT_ID: "id",
          OIDC_CLIENT_SECRET: "secret",
          TOOLS_MODULE: compiled("examples/policy/tools.mts"),
          POLICY_FILE: "examples/policy/policy.yaml",
        },
      },
    );
    assert.match(explained.stdout, /^DENY tool delete_page for bob/);
    assert.match(explained.stdout, /"only editors delete pages" \(.*policy\.yaml:5\)/);
  });
});

describe("examples/express.mts", () => {
  const { example, call } = running("express");

  test("both are there: the application's own routes, and the server", async () => {
    assert.deepEqual(await getJson(`${example().baseUrl}/prices`), { coffee: 3 });
    assert.equal(text(await call("bob", "whoami")), "bob");
    const { status, headers } = await rpc(example().url, undefined, "tools/list");
    assert.equal(status, 401);
    assert.match(headers.get("www-authenticate") ?? "", /resource_metadata=/);
  });
});

test("every example is run here, and says how to run it", () => {
  const files = readdirSync("examples", { recursive: true, encoding: "utf8" }).filter((file) =>
    file.endsWith(".mts"),
  );
  const tests = readFileSync("test/examples/examples.test.ts", "utf8");
  assert.ok(files.length > 5);
  for (const file of files) {
    const head = /^\/\*\*\n(.*?)\*\//s.exec(readFileSync(`examples/${file}`, "utf8"))?.[1] ?? "";
    if (file === "backend.mts") assert.match(head, /backend-api\.mts/);
    else assert.match(head, /--env-file=\.env \S+\.mts|npx mcp-oidc-proxy --tools/, file);
    assert.ok(tests.includes(`examples/${file}`) || file === "backend.mts", `${file} is run`);
  }
});
