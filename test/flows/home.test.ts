/** GET /: for people, for programs, for a terminal; switched off; and what must not get out of a name. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text as textFrom } from "node:stream/consumers";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import type { JWK } from "jose";
import { definePrompt } from "../../src/mcp/authoring/define-prompt.ts";
import { defineResource } from "../../src/mcp/authoring/define-resource.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { anyOf } from "../../src/oauth/scope-requirement.ts";
import { useTestServer } from "../support/test-server.ts";
import { newKey } from "../support/token-issuer.ts";

const run = promisify(execFile);

const PERSON = { accept: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8" };
const NASTY = `"Zoë's" </title></style></script><script>alert(1)</script> $(id) \`id\``;

const removeOrder = defineTool({
  name: "remove_order",
  title: "Remove an order",
  description: 'Removes <b onclick="x()">one</b> & only one',
  scopes: ["weather:read", anyOf("orders:write", "admin")],
  run: () => "gone",
});

describe("the page for people", () => {
  const testServer = useTestServer({
    basePath: "/deep/tools",
    environment: { SERVER_NAME: NASTY, SERVER_DESCRIPTION: `What ${NASTY} does` },
    tools: [removeOrder],
    resources: [
      defineResource({
        uriTemplate: "orders://order/{id}",
        name: "order",
        description: "One order",
        scopes: ["orders:write"],
        read: ({ id }) => id,
      }),
    ],
    prompts: [definePrompt({ name: "summary", description: "A summary", run: () => "Sum up." })],
    scopes: { "orders:write": "Change orders", admin: "Everything" },
  });

  test("says what the server is, what it can do and what that needs, in words", async () => {
    const { text } = await get(PERSON);
    const words = wordsOf(text);
    assert.ok(words.includes(`What ${NASTY} does`), words);
    assert.ok(words.includes(testServer.url));
    assert.doesNotMatch(words, /undefined|\[object/);
    assert.match(words, /Remove an order remove_order\s+Removes <b onclick="x\(\)">one<\/b> & only one/);
    assert.match(
      words,
      /Needs your permission: Read the current weather weather:read Change orders orders:write or Everything admin/,
    );
    assert.match(words, /Say hello say_hello\s+Says hello .*?Needs only your sign-in/s);
    assert.match(
      words,
      /Resources\s+What your application can read here[^.]*\.\s+Show 1 resource\s*order orders:\/\/order\/\{id\}\s+One order\s+Needs your permission: Change orders/,
    );
    assert.match(
      words,
      /Prompts\s+Questions that are written already[^.]*\.\s+Show 1 prompt\s*summary\s+A summary/,
    );
  });

  test("shows each client's steps for this very server", async () => {
    const { text } = await get(PERSON);
    const words = wordsOf(text);
    assert.ok(
      words.includes(
        `claude mcp add --scope user --transport http zoe-s-title-style-script-scrip ${testServer.url}`,
      ),
    );
    assert.match(
      text,
      /<a class="button" href="cursor:\/\/anysphere\.cursor-deeplink\/mcp\/install\?name=zoe-s-/,
    );
    assert.match(text, /<a class="button" href="vscode:mcp\/install\?%7B/);
  });

  test("nothing that the operator wrote is markup, and only our own script may run", async () => {
    const { text, headers } = await get(PERSON);
    const scripts = [...text.matchAll(/<script>(.*?)<\/script>/gs)].map(([, script]) => script ?? "");
    assert.equal(scripts.length, 1);
    const hash = createHash("sha256")
      .update(scripts[0] ?? "")
      .digest("base64");
    const policy = headers.get("content-security-policy") ?? "";
    for (const nothing of ["default-src", "frame-ancestors", "base-uri"])
      assert.ok(policy.split(";").includes(`${nothing} 'none'`), policy);
    assert.ok(policy.split(";").includes(`script-src 'sha256-${hash}'`), policy);
    assert.doesNotMatch(policy, /unsafe-|script-src-/);
    assert.doesNotMatch(text, /alert\(1\)<\/script>|<b onclick| on[a-z]+="|javascript:/i);
    assert.equal(text.match(/<\/style>/g)?.length, 1);
    assert.equal(headers.get("cache-control"), "no-store");
    assert.equal(headers.get("x-content-type-options"), "nosniff");
  });

  test("no other page may run a script", async () => {
    for (const path of ["/authorize", "/auth/callback", "/logout", "/nothing"]) {
      const { text, headers } = await get(PERSON, path);
      assert.match(text, /^<!doctype html>/);
      assert.doesNotMatch(text, /<script>/);
      assert.doesNotMatch(headers.get("content-security-policy") ?? "", /script-src/);
    }
  });

  test("a program that asks for JSON gets the same as JSON", async () => {
    const { text, headers } = await get({ accept: "application/json" });
    assert.match(headers.get("content-type") ?? "", /^application\/json/);
    assert.match(headers.get("vary") ?? "", /\bAccept\b/);
    const { tools, resources, prompts, ...server } = JSON.parse(text);
    assert.deepEqual(server, {
      name: NASTY,
      description: `What ${NASTY} does`,
      url: testServer.url,
      resource_metadata: `${new URL(testServer.baseUrl).origin}/.well-known/oauth-protected-resource/deep/tools/mcp`,
    });
    assert.equal((await fetch(server.resource_metadata)).status, 200);
    assert.deepEqual(tools.at(-1), {
      title: "Remove an order",
      name: "remove_order",
      description: removeOrder.listing.description,
      needs: [
        [{ scope: "weather:read", description: "Read the current weather" }],
        [
          { scope: "orders:write", description: "Change orders" },
          { scope: "admin", description: "Everything" },
        ],
      ],
    });
    assert.deepEqual(names(resources), ["orders://order/{id}"]);
    assert.deepEqual(names(prompts), ["summary"]);
  });

  test("curl gets what can be read in a terminal", async () => {
    const { text, headers } = await get({ accept: "*/*" });
    assert.doesNotMatch(text, /without a browser|client_credentials/);
    assert.match(headers.get("content-type") ?? "", /^text\/plain; charset=utf-8/);
    assert.ok(text.startsWith(`${NASTY}\n\nWhat ${NASTY} does\n\nMCP server: ${testServer.url}\n`));
    assert.ok(text.includes(`\n    codex mcp add zoe-s-title-style-script-scrip --url ${testServer.url}\n`));
    assert.match(
      text,
      /Needs your permission: Read the current weather \(weather:read\), Change orders \(orders:write\) or Everything \(admin\)/,
    );
    assert.doesNotMatch(text, /cursor:|vscode:/, "no links that a terminal cannot open");
  });

  test("a client that accepts none of these types gets the page", async () => {
    assert.match((await get({ accept: "image/png" })).text, /^<!doctype html>/);
  });

  test("HEAD answers as GET does, without the body; other methods are told which", async () => {
    const [head, page] = await Promise.all([get(PERSON, "", "HEAD"), get(PERSON)]);
    assert.equal(head.status, 200);
    assert.equal(head.text, "");
    for (const name of ["content-type", "content-length", "content-security-policy", "cache-control", "vary"])
      assert.equal(head.headers.get(name), page.headers.get(name), name);
    const post = await get(PERSON, "", "POST");
    assert.equal(post.status, 405);
    assert.equal(post.headers.get("allow"), "GET, HEAD");
  });

  test("a client that was given the address without /mcp is told where the endpoint is", async () => {
    const { status, text } = await get({}, "", "POST");
    assert.equal(status, 405);
    const { error_description: told } = JSON.parse(text);
    assert.equal(told, `POST is not offered here: use GET or HEAD. The MCP endpoint is ${testServer.url}.`);
  });

  test("the MCP endpoint, opened in a browser, leads here; whatever else asks there is challenged as ever", async () => {
    const navigation = { ...PERSON, "sec-fetch-mode": "navigate" };
    const shown = await get(navigation, "/mcp");
    assert.equal(shown.status, 303);
    assert.equal(shown.headers.get("location"), `${testServer.baseUrl}/`);
    assert.equal(shown.headers.get("cache-control"), "no-store");

    const plain = await get({ accept: "text/event-stream" }, "/mcp");
    assert.equal(plain.status, 401);
    for (const [headers, method] of [
      [PERSON, "GET"],
      [{ ...navigation, accept: "*/*" }, "GET"],
      [{ ...navigation, "sec-fetch-mode": "cors" }, "GET"],
      [navigation, "POST"],
    ] as const) {
      const program = await get(headers, "/mcp", method);
      assert.equal(program.text, plain.text);
      for (const name of ["www-authenticate", "content-type", "vary", "cache-control"])
        assert.equal(program.headers.get(name), plain.headers.get(name), name);
      assert.equal(program.status, 401);
    }
    const token = await get({ ...navigation, authorization: "Bearer x" }, "/mcp");
    assert.match(token.headers.get("www-authenticate") ?? "", /error="invalid_token"/);
  });

  test("a page that is not there leads home", async () => {
    const { status, text } = await get(PERSON, "/nothing");
    assert.equal(status, 404);
    assert.match(text, new RegExp(`<a href="${testServer.baseUrl}/">About this server</a>`));
  });

  test("tabs have an icon, which the policy of every page lets in and nothing else", async () => {
    const url = `${testServer.baseUrl}/icon.svg`;
    for (const path of ["", "/logout", "/nothing"]) {
      const { text, headers } = await get(PERSON, path);
      assert.ok(text.includes(`<link rel="icon" href="${url}">`), path);
      assert.match(headers.get("content-security-policy") ?? "", new RegExp(`img-src ${url}(;|$)`), path);
    }
    for (const path of ["/icon.svg", "/favicon.ico"]) {
      const { status, text, headers } = await get({ accept: "image/*" }, path);
      assert.equal(status, 200);
      assert.equal(headers.get("content-type"), "image/svg+xml; charset=utf-8");
      assert.equal(headers.get("cache-control"), "public, max-age=86400");
      assert.match(text, /^<svg .*>&quot;<\/text>\s*<\/svg>$/s, "the first letter of the name, as text");
    }
    assert.equal((await get({}, "/icon.svg", "POST")).headers.get("allow"), "GET");
  });

  const get = (headers: Record<string, string>, path = "", method = "GET") =>
    ask(testServer.baseUrl + path, headers, method);
});

describe("the page of a server that programs may come to without a browser", () => {
  const SECRET = "a-secret-that-no-page-shows-0123456789";
  const ISSUERS = ["https://company.example", "https://cluster.example", "https://other.example"];
  const testServer = useTestServer(() => {
    const file = join(mkdtempSync(join(tmpdir(), "home-")), "server.yaml");
    writeFileSync(
      file,
      `issuers:
  - { issuer: "${ISSUERS[0]}", accept: id-jag }
  - { issuer: "${ISSUERS[1]}", accept: workload, subjects: { "system:serviceaccount:batch:secretive": { scopes: [weather:read] } } }
  - { issuer: "${ISSUERS[2]}", accept: access-token, scopes: { reading: [weather:read] } }
`,
    );
    const client = { client_id: "the-nightly-one", client_secret: SECRET, scope: "weather:read" };
    return {
      environment: {
        CONFIG_FILE: file,
        CLIENTS: JSON.stringify([{ ...client, grant_types: ["client_credentials"] }]),
      },
    };
  });

  test("says each way that is configured, on the page and in the terminal", async () => {
    for (const accept of [PERSON.accept, "*/*"]) {
      const text = await textOf(testServer.baseUrl, accept);
      const words = accept === PERSON.accept ? wordsOf(text) : text;
      assert.match(words, /Connect without a browser/);
      for (const way of [
        "A job or service with a secret",
        "An application of a company (ID-JAG)",
        "A program on a platform (workload identity)",
        "A program with an access token of another issuer",
      ])
        assert.ok(words.includes(way), way);
      assert.doesNotMatch(words, /A job or service with a key/);
      const curl = `curl -s ${testServer.baseUrl}/token -u "$CLIENT_ID:$CLIENT_SECRET" -d grant_type=client_credentials -d resource=${testServer.url}`;
      assert.ok(words.includes(curl), words);
    }
  });

  test("its lines work as they are", async () => {
    const text = await textOf(testServer.baseUrl, "*/*");
    const [line = ""] = text.match(/^ +curl .*client_credentials.*$/m) ?? [];
    const environment = { PATH: process.env.PATH, CLIENT_ID: "the-nightly-one", CLIENT_SECRET: SECRET };
    const { stdout } = await run("sh", ["-c", line], { env: environment });
    const { access_token, scope } = JSON.parse(stdout);
    assert.match(access_token, /^mcp_at_/);
    assert.equal(scope, "weather:read");
  });

  test("names no client, no issuer and no workload", async () => {
    for (const accept of [PERSON.accept, "*/*", "application/json"]) {
      const text = await textOf(testServer.baseUrl, accept);
      for (const secret of ["the-nightly-one", SECRET, "secretive", "reading", ...ISSUERS])
        assert.ok(!text.includes(secret), secret);
    }
  });
});

describe("the page of a server with clients that sign, and people alone beside them", () => {
  const testServer = useTestServer(async () => ({
    environment: {
      CLIENTS: JSON.stringify([
        {
          client_id: "signing",
          jwks: { keys: [publicPartOf((await newKey()).jwk)] },
          grant_types: ["client_credentials"],
        },
        { client_id: "app", client_secret: "x".repeat(32), redirect_uris: ["https://app.example/cb"] },
      ]),
    },
  }));

  test("tells of keys, and of nothing else", async () => {
    const text = await textOf(testServer.baseUrl, "*/*");
    assert.match(text, /A job or service with a key/);
    assert.doesNotMatch(text, /with a secret|ID-JAG|workload identity|another issuer/);
  });
});

async function textOf(baseUrl: string, accept: string): Promise<string> {
  return (await fetch(baseUrl, { headers: { accept } })).text();
}

function publicPartOf({ d: _private, ...jwk }: JWK): JWK {
  return jwk;
}

describe("HOME_PAGE=off", () => {
  const testServer = useTestServer({ environment: { HOME_PAGE: "off" } });

  test("nothing leads to a page that is switched off", async () => {
    const headers = { ...PERSON, "sec-fetch-mode": "navigate" };
    assert.equal((await ask(testServer.url, headers)).status, 401);
    assert.doesNotMatch((await ask(`${testServer.baseUrl}/nothing`, headers)).text, /<a href=/);
  });

  test("/ is 404, as any path that is not there", async () => {
    for (const [method, headers] of [
      ["GET", PERSON],
      ["HEAD", PERSON],
      ["POST", PERSON],
      ["GET", { accept: "application/json" }],
    ] as const) {
      const [home, unknown] = await Promise.all(
        ["/", "/nothing"].map(async (path) => {
          const answer = await fetch(testServer.baseUrl + path, { method, headers });
          const same = (text: string) => text.replace(/<code>[0-9a-f-]{36}<\/code>/, "");
          const policy = answer.headers.get("content-security-policy");
          return { status: answer.status, policy, text: same(await answer.text()) };
        }),
      );
      assert.equal(home?.status, 404);
      assert.deepEqual(home, unknown);
    }
  });
});

/** fetch() would say itself how it asks (`Sec-Fetch-Mode`). */
async function ask(url: string, headers: Record<string, string>, method = "GET") {
  const [answer] = (await once(request(url, { method, headers }).end(), "response")) as [IncomingMessage];
  const entries = Object.entries(answer.headers).map(([name, value]): [string, string] => [
    name,
    String(value),
  ]);
  return { status: answer.statusCode, headers: new Headers(entries), text: await textFrom(answer) };
}

/** What a person reads: without markup, escapes resolved, as one line of words. */
function wordsOf(page: string): string {
  const [, body = ""] = page.split("<body>");
  return body
    .replace(/<script>.*?<\/script>/gs, "")
    .replace(/<br>/g, " ")
    .replace(/<[^>]*>/g, "")
    .replace(/&lt;/g, "<")
    .replace(/&gt;/g, ">")
    .replace(/&quot;/g, '"')
    .replace(/&#39;/g, "'")
    .replace(/&amp;/g, "&")
    .replace(/\s+/g, " ");
}

function names(offers: Array<{ name: string }>): string[] {
  return offers.map(({ name }) => name);
}
