/** mcp-manifest.json: what is committed, and what has drifted from it. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { z } from "zod";
import { startIdentityProvider } from "../../dev/identity-provider/identity-provider.ts";
import { runManifest } from "../../src/cli/manifest-command.ts";
import { definePrompt } from "../../src/mcp/authoring/define-prompt.ts";
import { defineResource } from "../../src/mcp/authoring/define-resource.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { differences, manifestOf } from "../../src/mcp/authoring/manifest.ts";
import { anyOf } from "../../src/oauth/scope-requirement.ts";
import { type Ran, ran, ranAsProcess } from "../support/ran.ts";
import { SECRET_KEY } from "../support/test-server.ts";

function offered({
  description = "Orders",
  scopes = ["a"],
  input = z.object({ id: z.string() }),
  name = "order",
} = {}) {
  return manifestOf({
    tools: [defineTool({ name, description, scopes, input, run: () => "" })],
    resources: [
      defineResource({
        uri: "x://y",
        name: "y",
        description: "y",
        scopes: [anyOf("a", "b")],
        read: () => "",
      }),
    ],
    prompts: [definePrompt({ name: "p", description: "p", run: () => "" })],
    scopes: { a: "A", b: { description: "B", includes: ["a"], whenNeeded: true } },
  });
}

describe("differences from the manifest", () => {
  test("are none where nothing has changed", () =>
    assert.deepEqual(differences(offered(), JSON.parse(JSON.stringify(offered()))), []));

  const drifts: Array<[name: string, now: ReturnType<typeof offered>, expected: RegExp[]]> = [
    [
      "a description",
      offered({ description: "Buy" }),
      [/^~ tools → order → description: "Orders" is now "Buy"$/],
    ],
    ["a scope", offered({ scopes: ["b"] }), [/^~ tools → order → scopes: "a" is now "b"$/]],
    ["a schema", offered({ input: z.object({ id: z.string().max(5) }) }), [/^~ tools → order → inputSchema/]],
    [
      "a name",
      offered({ name: "__proto__x" }),
      [
        /^- tools → order is in the manifest and not in the server$/,
        /^\+ tools → __proto__x is in the server/,
      ],
    ],
  ];
  for (const [name, now, expected] of drifts)
    test(`${name} is told in a line`, () => {
      const found = differences(offered(), now);
      assert.equal(found.length, expected.length, found.join("\n"));
      for (const [index, line] of expected.entries()) assert.match(found[index] ?? "", line);
    });

  test("a manifest that is no manifest differs in everything", () => {
    for (const committed of [{}, { tools: "none" }, { tools: { order: true } }])
      assert.ok(differences(committed, offered()).length > 0);
  });
});

describe("npm run manifest", () => {
  const cwd = mkdtempSync(join(tmpdir(), "manifest-"));
  const runIn = (folder: string, environment: Record<string, string>, ...args: string[]): Promise<Ran> =>
    ran((streams) => runManifest(args, () => environment, folder, streams));
  const run = (...args: string[]) => runIn(cwd, {}, ...args);

  test("writes what --check accepts; --check tells what is missing, changed or no JSON", async () => {
    assert.equal((await run("--check")).code, 1);
    assert.equal((await run()).code, 0);
    assert.equal((await run("--check")).code, 0);
    const file = join(cwd, "mcp-manifest.json");
    writeFileSync(file, readFileSync(file, "utf8").replace("Says hello", "Says goodbye"));
    const changed = await run("--check");
    assert.equal(changed.code, 1);
    assert.match(changed.stderr, /~ tools → say_hello → description: "Says goodbye.*npm run manifest/s);
    writeFileSync(file, "{");
    assert.match((await run("--check")).stderr, /\+ tools is in the server/);
    assert.match((await run("--chek")).stderr, /--chek/);
  });

  test("the committed manifest of this repository is true, and of another folder it is not", async () => {
    const { code, stdout } = await ranAsProcess("src/cli/manifest", ["--check"], { env: {} });
    assert.deepEqual([code, /says what the server offers/.test(stdout)], [0, true]);
    assert.equal((await ranAsProcess("src/cli/manifest", ["--check"], { env: {}, cwd })).code, 1);
  });

  test("has every resource of CONFIG_FILE, of a backend what it is said to need, and compares all of them", async () => {
    const folder = mkdtempSync(join(tmpdir(), "manifest-"));
    const describe = (needs: string) =>
      writeFileSync(
        join(folder, "server.yaml"),
        `resources:
  /mcp: {}
  /crm/mcp:
    name: CRM
    server: http://127.0.0.1:9/mcp
    scopes: { "crm:read": Read customers, "crm:write": Change customers }
    needs: { tools: { "find_*": [${needs}], ping: [] } }
  /a/docs:
    name: Docs
    scopes: { "docs:read": Read the docs }
    forwardAuth: { key: the-key-of-the-reverse-proxy-0123456789, scopes: ["docs:read"] }
`,
        { mode: 0o600 },
      );
    const runThere = (...args: string[]) =>
      runIn(folder, { CONFIG_FILE: join(folder, "server.yaml") }, ...args);
    describe('"crm:read"');
    assert.equal((await runThere()).code, 0);
    const written = JSON.parse(readFileSync(join(folder, "mcp-manifest.json"), "utf8"));
    assert.ok(written.tools.say_hello, "the first resource is where it always was");
    assert.deepEqual(Object.keys(written.furtherResources), ["/a/docs", "/crm/mcp"]);
    assert.deepEqual(written.furtherResources["/crm/mcp"], {
      name: "CRM",
      scopes: {
        "crm:read": { description: "Read customers" },
        "crm:write": { description: "Change customers" },
      },
      needs: { tools: { "find_*": "crm:read", ping: "" }, resources: {}, prompts: {} },
    });
    assert.equal(written.furtherResources["/a/docs"].needs.everything, "docs:read");
    assert.equal((await runThere("--check")).code, 0);
    describe('"crm:write"');
    const changed = await runThere("--check");
    assert.equal(changed.code, 1);
    assert.match(
      changed.stderr,
      /~ furtherResources → \/crm\/mcp → needs → tools → find_\*: "crm:read" is now "crm:write"/,
    );
    writeFileSync(join(folder, "server.yaml"), "resources: { mcp: {} }");
    const wrong = await runThere("--check");
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /server\.yaml:1: .*is no path/);
    assert.doesNotMatch(wrong.stderr, /\n\s+at /);
  });

  test("--check warns of scopes that the identity provider does not list", async () => {
    const provider = await startIdentityProvider({
      port: 0,
      client: { id: "x", secret: "y", redirectUris: ["http://localhost:1/auth/callback"] },
      audience: "https://x.example",
      scopes: ["weather:read"],
      users: [],
      behaviour: { advertisesApiScopes: false },
    });
    try {
      const env = {
        BASE_URL: "http://localhost:1",
        OIDC_ISSUER: provider.issuer,
        OIDC_CLIENT_ID: "x",
        OIDC_CLIENT_SECRET: "y",
        STORE: "memory",
        SECRET_KEY,
      };
      const { stderr } = await runIn(process.cwd(), env, "--check");
      assert.match(stderr, /! http:\S+ does not list the scope weather:read, nor does OIDC_SCOPES/);
    } finally {
      await provider.close();
    }
  });
});
