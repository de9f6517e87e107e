/** The instructions for each client: as its shell, its JSON parser and its links read them, whatever the server is called. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { DEMO_SERVER } from "../../dev/demo/server.ts";
import { UNNAMED } from "../../src/pages/brand.ts";
import {
  type ConnectGuide,
  connectGuides,
  nicknameOf,
  programGuides,
  type Snippet,
} from "../../src/pages/connect.ts";
import { oneLine } from "../../src/pages/connect-text.ts";

const URL_WITH_PATH = "https://example.com/deep/tools/mcp";

const SERVERS = [
  { name: "Weather", url: URL_WITH_PATH, nickname: "weather" },
  { name: 'Noël\'s "best" tools', url: URL_WITH_PATH, nickname: "noel-s-best-tools" },
  { name: "$(touch /tmp/x) `id` ; rm -rf ~ & #", url: URL_WITH_PATH, nickname: "touch-tmp-x-id-rm-rf" },
  { name: "--transport", url: URL_WITH_PATH, nickname: "transport" },
  { name: "</script><b>\\u0022%22\n|", url: URL_WITH_PATH, nickname: "script-b-u0022-22" },
  { name: "天気", url: "https://mcp.example.com/mcp", nickname: "mcp-example-com" },
  { name: UNNAMED, url: "https://mcp.example.com/mcp", nickname: "mcp-example-com" },
  {
    name: "All the orders of the company",
    url: "http://[::1]:3000/mcp",
    nickname: "all-the-orders-of-the-company",
  },
  { name: `${"a".repeat(29)} b`, url: "http://localhost:3000/mcp", nickname: "a".repeat(29) },
  // No configuration gives such a URL; a library's user might.
  { name: "odd", url: "https://example.com/~~~a'b$(id)`id`%2F%41>?+/mcp", nickname: "odd" },
];

for (const { name, url, nickname } of SERVERS)
  describe(`${JSON.stringify(name)} at ${url}`, () => {
    const guides = connectGuides({ name, url });
    const guide = (client: string): ConnectGuide => {
      const found = guides.find((each) => each.client === client);
      assert.ok(found, client);
      return found;
    };
    const snippetsOf = (client: string): Snippet[] =>
      guide(client).steps.filter((step) => typeof step !== "string");
    const snippetOf = (client: string): Snippet => {
      const [found] = snippetsOf(client);
      assert.ok(found, `${client} has something to copy`);
      return found;
    };

    test("a name that every client takes", () => {
      assert.equal(nicknameOf({ name, url }), nickname);
      assert.match(nickname, /^[a-z0-9]+(-[a-z0-9]+)*$/);
    });

    test("a shell reads every line as one command with these words", () => {
      const lines: Array<[string, ...string[][]]> = [
        [
          "Claude Code",
          ["claude", "mcp", "add", "--scope", "user", "--transport", "http", nickname, url],
          ["claude", "mcp", "login", nickname],
        ],
        ["Codex", ["codex", "mcp", "add", nickname, "--url", url]],
        ["Gemini CLI", ["gemini", "mcp", "add", "--scope", "user", "--transport", "http", nickname, url]],
        [
          "opencode",
          ["opencode", "mcp", "add", nickname, "--url", url],
          ["opencode", "mcp", "auth", nickname],
        ],
        [
          "mcporter",
          ["npx", "-y", "mcporter", "config", "add", nickname, url, "--scope", "home"],
          ["npx", "-y", "mcporter", "auth", nickname],
        ],
        [
          "MCP Inspector",
          ["npx", "-y", "@modelcontextprotocol/inspector", "--transport", "http", "--server-url", url],
        ],
      ];
      for (const [client, ...commands] of lines) {
        for (const { place } of snippetsOf(client)) assert.equal(place, "Terminal");
        assert.deepEqual(
          snippetsOf(client).map(({ text }) => shellWords(text)),
          commands,
          client,
        );
      }
    });

    test("the files are JSON, in each client's form", () => {
      const parsed = (client: string) => JSON.parse(snippetOf(client).text);
      assert.deepEqual(parsed("Cursor"), { mcpServers: { [nickname]: { url } } });
      assert.deepEqual(parsed("VS Code"), { servers: { [nickname]: { type: "http", url } } });
      assert.deepEqual(parsed("mcp-remote"), {
        mcpServers: { [nickname]: { command: "npx", args: ["-y", "mcp-remote", url] } },
      });
    });

    test("the links say the same, however often they are decoded", () => {
      const cursor = new URL(guide("Cursor").link?.href ?? "");
      assert.equal(
        `${cursor.protocol}//${cursor.host}${cursor.pathname}`,
        "cursor://anysphere.cursor-deeplink/mcp/install",
      );
      assert.equal(cursor.searchParams.get("name"), nickname);
      // Cursor may decode the query as a whole before it reads it.
      for (const query of [cursor.search, decodeURIComponent(cursor.search)]) {
        const config = new URLSearchParams(query).get("config") ?? "";
        assert.match(config, /^[A-Za-z0-9]+=*$/);
        assert.deepEqual(JSON.parse(Buffer.from(config, "base64").toString()), { url });
      }

      const code = guide("VS Code").link?.href ?? "";
      assert.ok(code.startsWith("vscode:mcp/install?"));
      const once = decodeURIComponent(code.slice("vscode:mcp/install?".length));
      for (const read of [once, decodeURIComponent(once)])
        assert.deepEqual(JSON.parse(read), { name: nickname, type: "http", url });
    });

    test("Claude and ChatGPT, which connect from the internet, are given an address that is there", () => {
      if (url.startsWith("http://")) {
        const hosted = guides.filter(({ client }) => /Claude(?! Code)|ChatGPT/.test(client));
        assert.equal(hosted.length, 1);
        assert.equal(hosted[0]?.link, undefined);
        assert.match(String(hosted[0]?.steps), /cannot reach this computer.*a public https address/);
        return;
      }
      const claude = guide("Claude");
      const link = new URL(claude.link?.href ?? "");
      assert.equal(link.origin + link.pathname, "https://claude.ai/customize/connectors");
      assert.deepEqual(Object.fromEntries(link.searchParams), {
        modal: "add-custom-connector",
        connectorName: name,
        connectorUrl: url,
      });
      assert.equal(snippetOf("Claude").text, url);
      assert.equal(snippetOf("ChatGPT").text, url);
    });

    test("an application that is not named is told the address, and to ask for no more", () => {
      assert.deepEqual(snippetsOf("Any other"), [{ place: "MCP server URL", text: url }]);
    });

    test("a shell reads every line for programs as one command with these words", () => {
      const baseUrl = url.slice(0, -"/mcp".length);
      const [secret = [], key = [], idJag = [], workload = [], token = []] = programGuides({ url, baseUrl }, [
        "client-secret",
        "client-key",
        "id-jag",
        "workload",
        "access-token",
      ]).map(({ steps }) =>
        steps.flatMap((step) =>
          typeof step !== "string" && step.place === "Terminal" ? shellWords(step.text) : [],
        ),
      );
      const curl = ["curl", "-s", `${baseUrl}/token`];
      const asClient = ["-u", "the id:the secret"];
      const asking = ["-d", "grant_type=client_credentials", "-d", `resource=${url}`];
      const presenting = [
        ...["-d", "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer"],
        ...["-d", "assertion=the assertion"],
      ];
      assert.deepEqual(secret, [...curl, ...asClient, ...asking]);
      assert.deepEqual(key.slice(-4), asking);
      assert.ok(key.includes("client_assertion=the assertion"));
      assert.deepEqual(idJag, [...curl, ...asClient, ...presenting]);
      assert.deepEqual(workload, [...curl, ...presenting]);
      assert.deepEqual(token, []);
    });

    test("sentences are free of what people called their server", () => {
      for (const { steps } of [...guides, ...programGuides({ url, baseUrl: url }, ["id-jag", "client-key"])])
        for (const step of steps)
          if (typeof step === "string") assert.match(step, /^[\w\s.,:;/→+'`*()[\]-]+$/);
    });
  });

test("the table of docs/clients.md is what the demo and its page show", () => {
  const rows = connectGuides({ name: DEMO_SERVER.name, url: "http://localhost:3000/mcp" }).map(
    ({ client, steps }) => `| ${client} | ${steps.map(asCell).join(" ")} |`,
  );
  const table = ["| Client | How |", "| --- | --- |", ...rows].join("\n");
  const [, section = ""] = readFileSync("docs/clients.md", "utf8").split("# Connect a client\n");
  assert.equal(section.match(/^\|.*\n(\|.*\n)+/m)?.[0].trim(), table);
});

function asCell(step: string | Snippet): string {
  if (typeof step === "string") return step;
  const code = `\`${oneLine(step.text)}\``;
  return step.place === "Terminal" ? code : `${step.place}: ${code}`;
}

/** What a POSIX shell makes of a line: the command's name and its arguments, if it is one command. */
function shellWords(line: string): string[] {
  const [command = ""] = line.split(" ");
  const script = `${command}() { printf '%s\\0' ${command} "$@"; }\n${line}\n`;
  const env = {
    ...process.env,
    CLIENT_ID: "the id",
    CLIENT_SECRET: "the secret",
    ASSERTION: "the assertion",
  };
  return execFileSync("sh", ["-c", script], { encoding: "utf8", env }).split("\0").slice(0, -1);
}
