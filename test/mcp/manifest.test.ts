/** mcp-manifest.json: what is committed, and what has drifted from it. */
import assert from "node:assert/strict";
import { execFile, execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { z } from "zod";
import { startIdentityProvider } from "../../dev/identity-provider/identity-provider.ts";
import { definePrompt } from "../../src/mcp/authoring/define-prompt.ts";
import { defineResource } from "../../src/mcp/authoring/define-resource.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { differences, manifestOf } from "../../src/mcp/authoring/manifest.ts";
import { anyOf } from "../../src/oauth/scope-requirement.ts";
import { builtProgram } from "../support/built-program.ts";
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
  const command = builtProgram("src/cli/manifest");
  const environment = { PATH: process.env.PATH };
  const cwd = mkdtempSync(join(tmpdir(), "manifest-"));
  const run = (...args: string[]) =>
    spawnSync(process.execPath, [command, ...args], {
      cwd,
      env: environment,
      encoding: "utf8",
    });

  test("writes what --check accepts; --check tells what is missing, changed or no JSON", () => {
    assert.equal(run("--check").status, 1);
    assert.equal(run().status, 0);
    assert.equal(run("--check").status, 0);
    const file = join(cwd, "mcp-manifest.json");
    writeFileSync(file, readFileSync(file, "utf8").replace("Says hello", "Says goodbye"));
    const changed = run("--check");
    assert.equal(changed.status, 1);
    assert.match(changed.stderr, /~ tools → say_hello → description: "Says goodbye.*npm run manifest/s);
    writeFileSync(file, "{");
    assert.match(run("--check").stderr, /\+ tools is in the server/);
  });

  test("the committed manifest of this repository is true", () => {
    execFileSync(process.execPath, [command, "--check"], { env: environment });
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
        ...environment,
        BASE_URL: "http://localhost:1",
        OIDC_ISSUER: provider.issuer,
        OIDC_CLIENT_ID: "x",
        OIDC_CLIENT_SECRET: "y",
        STORE: "memory",
        SECRET_KEY,
      };
      const args = [command, "--check"];
      const { stderr } = await promisify(execFile)(process.execPath, args, { env });
      assert.match(stderr, /! http:\S+ does not list the scope weather:read, nor does OIDC_SCOPES/);
    } finally {
      await provider.close();
    }
  });
});
