/** What `npm pack` makes is what a user installs: an empty project, its compiler, the minimal example, the command. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import {
  type RunningIdentityProvider,
  startIdentityProvider,
} from "../../dev/identity-provider/identity-provider.ts";
import { freePort } from "../support/free-port.ts";
import { callTool, register, signInForTokens, toolNames } from "../support/oauth-client.ts";
import { startedPrograms } from "../support/started-program.ts";
import { ALICE, AUDIENCE, SECRET_KEY } from "../support/test-server.ts";
import { startCollector } from "../telemetry/collector.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const run = promisify(execFile);
const OFFLINE = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENETUNREACH|ETIMEDOUT/;

/** As strict as it gets: with it every declaration that the package brings along is checked as well. */
const COMPILER_OPTIONS = {
  target: "ES2022",
  module: "NodeNext",
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  verbatimModuleSyntax: true,
  skipLibCheck: false,
  rootDir: ".",
  outDir: "built",
  types: ["node"],
  typeRoots: [join(root, "node_modules/@types")],
};

const CONSUMER = `
import { type AccessToken, anyOf, type Config, createApp, defineTool, getAccessToken, loadConfig, serve, type Tool } from "mcp-oidc-proxy";
import { createServer } from "node:http";
import { z } from "zod";

const token: () => AccessToken = getAccessToken;
const tools: Tool[] = [
  defineTool({
    name: "add",
    description: "Adds",
    scopes: [anyOf("numbers:read", "numbers:all")],
    input: z.object({ one: z.number(), other: z.number() }),
    output: z.object({ sum: z.number() }),
    run: ({ one, other }) => ({ sum: one + other }),
  }),
  // @ts-expect-error: the output says that sum is a number
  defineTool({ name: "wrong", description: "Wrong", output: z.object({ sum: z.number() }), run: () => ({ sum: "3" }) }),
];
export async function start(config: Config): Promise<void> {
  const { handler, close } = await createApp(config, { tools, scopes: { "numbers:read": "Read numbers" } });
  createServer(handler).once("close", close);
  const { port, stopped }: { port: number; stopped: Promise<void> } = await serve(config, { tools, scopes: {} });
  // @ts-expect-error: it has to be said what the scopes mean
  await serve(config, { tools });
  // @ts-expect-error: nothing here is of any type
  const nothing: string = token().expiresAt;
  await stopped.then(() => [port, nothing, loadConfig(process.env).lifetimes.accessTokenSeconds]);
}
`;

describe("npm pack", () => {
  let folder: string;
  let tree: string;
  let project: string;
  let packed: { filename: string; files: Array<{ path: string }> };
  let identityProvider: RunningIdentityProvider;
  let port: number;
  const programs = startedPrograms();

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "package-"));
    tree = join(folder, "tree");
    mkdirSync(tree);
    // Built there: other tests use the one here.
    for (const name of [
      ".env.example",
      ".npmrc",
      "LICENSE",
      "README.md",
      "docs",
      "examples",
      "package.json",
      "package-lock.json",
      "scripts",
      "src",
      "dev",
      "tsconfig.build.json",
      "tsconfig.json",
    ])
      cpSync(join(root, name), join(tree, name), { recursive: true });
    symlinkSync(join(root, "node_modules"), join(tree, "node_modules"));
    const { stdout } = await run("npm", ["pack", "--json"], { cwd: tree });
    [packed] = JSON.parse(stdout);
    port = await freePort();
    identityProvider = await startIdentityProvider({
      port: 0,
      client: {
        id: "proxy",
        secret: "proxy-secret",
        redirectUris: [`http://localhost:${port}/auth/callback`],
      },
      audience: AUDIENCE,
      scopes: ["greetings:read", "wiki:read", "wiki:write"],
      users: [{ ...ALICE, permissions: ["greetings:read", "wiki:read"] }],
      behaviour: { advertisesApiScopes: true },
    });
  });
  after(async () => {
    programs.endAll();
    await identityProvider.close();
    rmSync(folder, { recursive: true });
  });

  /** Configured and nothing else. */
  function environment(more: Record<string, string> = {}): NodeJS.ProcessEnv {
    return {
      PATH: process.env.PATH,
      BASE_URL: `http://localhost:${port}`,
      PORT: String(port),
      HOST: "127.0.0.1",
      STORE: "memory",
      SECRET_KEY,
      OIDC_ISSUER: identityProvider.issuer,
      OIDC_CLIENT_ID: "proxy",
      OIDC_CLIENT_SECRET: "proxy-secret",
      OIDC_AUDIENCE: AUDIENCE,
      ...more,
    };
  }

  const start = (...command: [string, ...string[]]) =>
    programs.start(command, { cwd: project, env: environment() });

  async function signIn(): Promise<{ url: string; token: string }> {
    const baseUrl = `http://localhost:${port}`;
    const { access_token } = await signInForTokens(baseUrl, await register(baseUrl));
    return { url: `${baseUrl}/mcp`, token: access_token };
  }

  test("contains the built server, and nothing that is for its developers", () => {
    const files = packed.files.map(({ path }) => path);
    const others = files.filter((path) => !/^dist\/.*\.(js|d\.ts)$/.test(path));
    assert.deepEqual(others.sort(), [".env.example", "LICENSE", "README.md", "package.json"]);
    for (const path of ["dist/src/index.js", "dist/src/index.d.ts", "dist/src/cli/bin.js"])
      assert.ok(files.includes(path), path);
    assert.deepEqual(
      files.filter((path) => /^dist\/dev\/(reference\/|example)|^dist\/dev\/.*\.d\.ts$|test/.test(path)),
      [],
    );
  });

  test("installs into an empty project", async (t) => {
    project = join(folder, "project");
    mkdirSync(project);
    await run("npm", ["init", "-y"], { cwd: project });
    // As npm 11 writes it; older ones leave it out.
    await run("npm", ["pkg", "set", "type=commonjs"], { cwd: project });
    const npm = [
      "install",
      "--prefer-offline",
      "--no-audit",
      "--no-fund",
      join(tree, packed.filename),
      "zod",
    ];
    try {
      await run("npm", npm, { cwd: project });
    } catch (error) {
      const { stderr } = error as { stderr: string };
      if (!OFFLINE.test(stderr)) throw error;
      project = "";
      t.skip("npm cannot reach the registry, from which the dependencies come");
    }
  });

  test("its types are enough for a strict compiler, and are not any", async (t) => {
    if (project === "") return t.skip("not installed");
    writeFileSync(join(project, "consumer.mts"), CONSUMER);
    cpSync(join(root, "examples/minimal.mts"), join(project, "minimal.mts"));
    cpSync(join(root, "examples/policy"), join(project, "policy"), { recursive: true });
    writeFileSync(
      join(project, "tsconfig.json"),
      JSON.stringify({ compilerOptions: COMPILER_OPTIONS, include: ["*.mts", "policy"] }),
    );
    await run(join(root, "node_modules/.bin/tsc"), ["-p", project]).catch(({ stdout }) =>
      assert.fail(stdout),
    );
  });

  test("the minimal example runs from it, and ends when it is told to", async (t) => {
    if (project === "") return t.skip("not installed");
    const { stop } = await start(process.execPath, "built/minimal.mjs");
    const { url, token } = await signIn();
    const { body } = await callTool(url, token, "greet", { language: "en" });
    assert.equal(body.result.content[0].text, "Good day, Alice Example!");
    const { code, output } = await stop();
    assert.equal(code, 0);
    assert.match(output, /"Stopped"/);
  });

  test("the README's program runs from an empty folder, exactly as it says", async (t) => {
    if (project === "") return t.skip("not installed");
    const [, section = ""] = readFileSync(join(root, "README.md"), "utf8").split("## As a library\n");
    const [, program = ""] = /```ts\n(.*?)```/s.exec(section) ?? [];
    const file = /^As `([\w.]+)`/m.exec(section)?.[1] ?? "";
    const [, command = ""] = /^node --env-file=\.env (\S+)$/m.exec(section) ?? [];
    assert.equal(command, file);
    writeFileSync(join(project, file), program);
    const settings = Object.entries(environment()).filter(([name]) => name !== "PATH");
    writeFileSync(join(project, ".env"), settings.map((pair) => pair.join("=")).join("\n"));

    for (const loader of [[], ["--import", join(root, "node_modules/tsx/dist/loader.mjs")]]) {
      const args = [...loader, "--env-file=.env", file];
      const { stop } = await programs.start([process.execPath, ...args], {
        cwd: project,
        env: { PATH: process.env.PATH },
      });
      const { url, token } = await signIn();
      assert.equal((await callTool(url, token, "whoami")).body.result.content[0].text, "alice");
      assert.equal((await stop()).code, 0);
    }
    rmSync(join(project, ".env"));
  });

  test("a program says what is wrong with its settings once, without a stack trace", async (t) => {
    if (project === "") return t.skip("not installed");
    for (const loader of [[], ["--import", join(root, "node_modules/tsx/dist/loader.mjs")]]) {
      const { code, stderr, stdout } = await run(process.execPath, [...loader, "built/minimal.mjs"], {
        cwd: project,
        env: { PATH: process.env.PATH },
      }).then(
        () => assert.fail("it started"),
        (error) => error,
      );
      assert.equal(code, 1);
      assert.equal(stdout, "");
      assert.equal(stderr.split("BASE_URL is missing").length - 1, 1, stderr);
      assert.doesNotMatch(stderr, /^\s+at |throw |problems:/m, stderr);
    }
  });

  test("traces are optional: without their packages it is smaller and says how to install them; with them it traces", async (t) => {
    if (project === "") return t.skip("not installed");
    const installed = () => readdirSync(join(project, "node_modules/@opentelemetry"));
    assert.deepEqual(installed(), ["api"], "the one that comes along with the metrics");
    const collector = await startCollector();
    t.after(() => collector.close());
    const env = environment({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url });
    const command = join(project, "node_modules/.bin/mcp-oidc-proxy");
    const args = ["--tools", "built/policy/tools.mjs"];
    const { code, stderr } = await run(command, args, { cwd: project, env }).catch((error) => error);
    assert.equal(code, 1);
    const [, install = ""] =
      /^mcp-oidc-proxy cannot start: OTEL_.* is not installed here: (npm install .+)\n$/.exec(stderr) ??
      assert.fail(stderr);
    const doctor = await run(command, ["doctor", ...args], { cwd: project, env }).catch((error) => error);
    assert.match(doctor.stdout, /✗ The server would not start: OTEL_.*npm install "@opentelemetry/);

    await run("sh", ["-c", `${install} --prefer-offline --no-audit --no-fund`], { cwd: project });
    const { stop } = await programs.start([command, ...args], { cwd: project, env });
    await fetch(`http://localhost:${port}/`);
    assert.equal((await stop()).code, 0);
    assert.ok(collector.spans.some(({ name }) => name === "GET /"));
  });

  test("the command serves a module of tools", async (t) => {
    if (project === "") return t.skip("not installed");
    const command = join(project, "node_modules/.bin/mcp-oidc-proxy");
    const { stop } = await start(command, "--tools", "built/policy/tools.mjs");
    const { url, token } = await signIn();
    assert.deepEqual(await toolNames(url, token), ["read_page"]);
    assert.equal((await callTool(url, token, "delete_page", { title: "Home" })).status, 403);
    assert.equal((await stop()).code, 0);
  });

  test("the command has the demo; without its identity provider it says what to install", async (t) => {
    if (project === "") return t.skip("not installed");
    const command = join(project, "node_modules/.bin/mcp-oidc-proxy");
    const env = { PATH: process.env.PATH, PORT: String(port) };
    for (const name of ["demo", "dev"]) {
      const args = [name, "--tools", "built/policy/tools.mjs"];
      const ready = "Stop with Ctrl+C";
      const { stop } = await programs.start([command, ...args], { cwd: project, env, ready });
      const { url, token } = await signIn();
      assert.ok((await toolNames(url, token)).includes("read_page"));
      assert.equal((await stop()).code, 0);
    }
    renameSync(join(project, "node_modules/oidc-provider"), join(folder, "oidc-provider"));
    const { code, stderr } = await run(command, ["demo"], { cwd: project, env }).catch((error) => error);
    assert.equal(code, 1);
    assert.match(stderr, /^demo needs the embedded identity provider.*npm install .*oidc-provider@9\n$/);
  });

  test("the command says what is wrong, in words", async (t) => {
    if (project === "") return t.skip("not installed");
    writeFileSync(join(project, "no-scopes.mjs"), "export const tools = [];");
    writeFileSync(join(project, "broken.mjs"), "import 'no-such-package';");
    writeFileSync(
      join(project, "no-tools.mjs"),
      "export const tools = [{ name: 'plain' }]; export const scopes = {};",
    );
    const command = join(project, "node_modules/.bin/mcp-oidc-proxy");
    const failure = (args: string[], env = environment()) =>
      run(command, args, { cwd: project, env }).then(
        () => assert.fail("it succeeded"),
        ({ code, stderr }) => ({ code, stderr: String(stderr) }),
      );
    const cases: Array<[args: string[], message: RegExp, env?: NodeJS.ProcessEnv]> = [
      [["strat"], /There is no command strat/],
      [["--tols", "x.js"], /--tols/],
      [["--tools", "missing.mjs"], /TOOLS_MODULE: .*missing\.mjs does not exist/],
      [["--tools", "no-scopes.mjs"], /must export `scopes`/],
      [["start", "--tools", "no-tools.mjs"], /must export `tools`, a list of what defineTool/],
      [["--tools", "broken.mjs"], /cannot be loaded: .*no-such-package/],
      [[], /BASE_URL is missing/, { PATH: process.env.PATH }],
      [["admin", "policy", "explain"], /--user/],
    ];
    for (const [args, message, env] of cases) {
      const { code, stderr } = await failure(args, env);
      // 2: the command line is wrong, and nothing was tried.
      const isWrong = ["admin", "strat", "--tols"].includes(args[0] ?? "");
      assert.equal(code, isWrong ? 2 : 1, args.join(" "));
      assert.match(stderr, message);
      assert.doesNotMatch(stderr, /^\s+at /m);
    }
    const another = join(tree, "dist/src/cli/bin.js");
    const { stderr } = await run(process.execPath, [another, "--tools", "built/policy/tools.mjs"], {
      cwd: project,
      env: environment(),
    }).catch((error) => error);
    assert.match(stderr, /would use another copy of mcp-oidc-proxy/);
    const { stdout } = await run(command, ["--help"]);
    assert.match(stdout, /mcp-oidc-proxy admin/);
  });
});
