/** `npm run dev` as the author of a tool uses it, on a copy of the project: edit, call again. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import type { Answer } from "../../dev/client/http.ts";
import { readToken } from "../../src/grants/opaque-token.ts";
import { createSealer } from "../../src/storage/sealer.ts";
import { freePort } from "../support/free-port.ts";
import {
  callTool,
  type Registered,
  refresh,
  register,
  signInForTokens,
  type Tokens,
  toolNames,
} from "../support/oauth-client.ts";

const PATIENCE_MS = 120_000;

describe("npm run dev", () => {
  const project = mkdtempSync(join(tmpdir(), "dev-"));
  const file = (name: string) => join(project, "src/tools", name);
  const original = (name: string) => readFileSync(join("src/tools", name), "utf8");
  const edit = (name: string, from: string, to: string) => {
    assert.ok(original(name).includes(from), `${name} has no ${from} any more`);
    writeFileSync(file(name), original(name).replace(from, to));
  };
  let port: number;
  let baseUrl: string;
  let dev: { process: ChildProcess; output: string };
  let client: Registered;
  let tokens: Tokens;

  before(async () => {
    for (const folder of ["src", "dev"]) cpSync(folder, join(project, folder), { recursive: true });
    for (const name of ["package.json", "tsconfig.json", "tsconfig.build.json"])
      cpSync(name, join(project, name));
    symlinkSync(join(process.cwd(), "node_modules"), join(project, "node_modules"));
    port = await freePort();
    baseUrl = `http://localhost:${port}`;
  });
  after(async () => {
    await end("SIGKILL");
    rmSync(project, { recursive: true, force: true });
  });

  async function start(): Promise<void> {
    const child = spawn(process.execPath, ["--import", "tsx", "dev/watch/dev.ts"], {
      cwd: project,
      env: { PATH: process.env.PATH, PORT: String(port) },
      stdio: ["ignore", "pipe", "pipe"],
    });
    dev = { process: child, output: "" };
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => {
        dev.output += chunk.toString();
      });
    await said(/Stop with Ctrl\+C|503 until it is repaired/);
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    if (dev === undefined || dev.process.exitCode !== null || dev.process.signalCode !== null) return;
    const exited = once(dev.process, "exit");
    dev.process.kill(signal);
    await exited;
  }

  /** Waits until it was printed; from here on only what comes after it counts. */
  async function said(words: RegExp): Promise<void> {
    for (const start = performance.now(); performance.now() - start < PATIENCE_MS; await delay(20)) {
      const found = words.exec(dev.output);
      if (found === null) continue;
      dev.output = dev.output.slice(found.index + found[0].length);
      return;
    }
    throw new Error(`${words} was not said: ${dev.output}`);
  }

  const call = (name: string, args: object = {}) =>
    callTool(`${baseUrl}/mcp`, tokens.access_token, name, args);
  const textOf = ({ body }: Answer): string => body.result?.content?.[0]?.text ?? JSON.stringify(body);

  test("a client signs in, and every hop is a line in words", async () => {
    await start();
    client = await register(baseUrl, { client_name: "Claude\u001b[31m Code" });
    tokens = await signInForTokens(baseUrl, client);
    assert.equal(textOf(await call("say_hello")), "Hello, Alice Example!");
    await call("current_weather", { city: "Berlin" });
    for (const line of [
      /Claude.* Code +registers as a client → ok/,
      /alice · Claude.* Code +comes back from the identity provider → signed in as alice/,
      /alice · Claude.* Code +exchanges the code for tokens → ok \(weather:read\)/,
      /calls say_hello \{\} → ok/,
      /calls current_weather \{"city":"Berlin"\} → ok/,
    ])
      await said(line);
    assert.doesNotMatch(dev.output, /mcp_at_|mcp_rt_|mcp_ac_/);
  });

  test("an edited tool answers anew to the same token, and nobody sees it restart", async () => {
    edit("say-hello.ts", "`Hello, $", "`Good morning, $");
    const editedAt = performance.now();
    const answers: string[] = [];
    const took: number[] = [];
    for (const start = performance.now(); performance.now() - start < PATIENCE_MS; await delay(10)) {
      const askedAt = performance.now();
      const answer = await call("say_hello"); // throws if the connection is refused or breaks
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      answers.push(textOf(answer));
      took.push(performance.now() - askedAt);
      if (answers.at(-1)?.startsWith("Good morning")) break;
    }
    assert.equal(answers.at(-1), "Good morning, Alice Example!");
    // Most of the time it is one call that waits for the new code, and not many that the old one answers.
    const longest = Math.max(...took);
    const altogether = performance.now() - editedAt;
    assert.ok(longest > altogether / 4, `${longest} of ${altogether} ms in ${answers.length} calls`);
    await said(/The change is in use/);
    assert.doesNotMatch(dev.output, /ended by itself|✗/);
  });

  test("a new tool with a new scope: listed, challenged for, granted", async () => {
    writeFileSync(
      file("new-tool.ts"),
      original("say-hello.ts")
        .replace("sayHello", "newTool")
        .replace('name: "say_hello",', 'name: "new_tool",\n  scopes: ["new:use"],'),
    );
    edit("index.ts", "= [whoami,", "= [newTool, whoami,");
    writeFileSync(
      file("index.ts"),
      readFileSync(file("index.ts"), "utf8")
        .replace("import { sayHello", 'import { newTool } from "./new-tool.ts";\nimport { sayHello')
        .replace('"weather:read":', '"new:use": "Use what is new",\n  "weather:read":'),
    );
    await until(async () => (await call("new_tool")).status === 403);
    const more = await signInForTokens(baseUrl, client, {
      parameters: { scope: "weather:read new:use" },
    });
    assert.deepEqual(more.scope.split(" ").sort(), ["new:use", "weather:read"]);
    assert.ok((await toolNames(`${baseUrl}/mcp`, more.access_token)).includes("new_tool"));
  });

  for (const [what, from, to, told] of [
    ["a syntax error", "run({ name }) {", "run({ name }) }", /✗ .*src\/tools\/say-hello\.ts:\d+:\d+/s],
    ["a wrong import", 'from "zod"', 'from "./missing.ts"', /✗ .*missing\.ts/s],
    [
      "a scope that is not declared",
      'name: "say_hello",',
      'name: "say_hello", scopes: ["no:such"],',
      /✗ .*no:such/s,
    ],
    [
      "code that throws",
      "export const",
      "throw new Error('thrown on import');\nexport const",
      /✗ thrown on import\s+at .*say-hello\.ts/s,
    ],
  ] as const)
    test(`${what} is said, and the last good server keeps answering`, async () => {
      edit("say-hello.ts", from, to);
      await said(told);
      await said(/last good server keeps running/);
      assert.match(textOf(await call("say_hello")), /^Good morning, Alice Example!/);
    });

  test("a wrong type is said; the code runs all the same", async () => {
    edit("say-hello.ts", "`Hello, $", "(1 as string) + `typed, $");
    await said(/Types that are wrong.*src\/tools\/say-hello\.ts:\d+:\d+: error/s);
    assert.equal(
      textOf(await call("say_hello")),
      "1typed, Alice Example!",
      "and what was broken is repaired",
    );
    edit("say-hello.ts", "`Hello, $", "`Hello again, $");
    await said(/types are right again/);
  });

  test("a server that a tool brings down comes back, and its client is still signed in", async () => {
    edit(
      "say-hello.ts",
      "const { claims,",
      'if (name === "crash") setTimeout(() => process.exit(7), 50);\n    const { claims,',
    );
    await said(/The change is in use/);
    await delay(2_500);
    await call("say_hello", { name: "crash" });
    await said(/The server ended by itself \(exit code 7\)/);
    await until(async () => (await call("say_hello")).status === 200);
  });

  test("stopped or killed and started again: the same tokens work, and so does the provider's", async () => {
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await end(signal);
      await untilSilent();
      await start();
      assert.equal((await call("say_hello")).status, 200, "the access token");
      const { body, status } = await refresh(baseUrl, client, tokens.refresh_token);
      assert.equal(status, 200, "the refresh token");
      tokens = body;
    }
    assert.equal(await upstreamRefreshStatus(), 200, "the provider's refresh token");
  });

  test("its secrets are for this user alone, and it listens on this computer alone", async () => {
    const folder = join(project, ".dev", String(port));
    assert.equal(statSync(folder).mode & 0o777, 0o700);
    for (const name of ["secrets.json", "records.jsonl", "identity-provider.json"])
      assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
    // Every address of 127.0.0.0/8 is this computer; who listens on all would answer here too.
    await assert.rejects(fetch(`http://127.0.0.2:${port}/healthz`));
    await assert.rejects(fetch(`http://127.0.0.2:${port + 1}/`));
  });

  test("started with broken code: a 503 says what is wrong, until it is repaired", async () => {
    await end("SIGTERM");
    edit("say-hello.ts", "run({ name }) {", "run({ name }) }");
    await start();
    const refused = await call("say_hello");
    assert.equal(refused.status, 503);
    assert.match(refused.body.error_description, /does not start.*say-hello\.ts:\d+/s);
    assert.ok(Number(refused.headers.get("retry-after")) > 0);
    edit("say-hello.ts", "`Hello, $", "`Repaired, $");
    await until(async () => textOf(await call("say_hello")).startsWith("Repaired"));
  });

  async function until(look: () => Promise<boolean>): Promise<void> {
    for (const start = performance.now(); performance.now() - start < PATIENCE_MS; await delay(20))
      if (await look()) return;
    throw new Error(`What was waited for did not happen: ${dev.output}`);
  }

  /** What was killed leaves nothing behind: the server ends with it. */
  async function untilSilent(): Promise<void> {
    await until(() =>
      fetch(`${baseUrl}/healthz`).then(
        () => false,
        () => true,
      ),
    );
  }

  /** As the server would spend it, out of its store. */
  async function upstreamRefreshStatus(): Promise<number> {
    const read = (name: string) => readFileSync(join(project, ".dev", String(port), name), "utf8");
    const { secretKey, clientSecret } = JSON.parse(read("secrets.json"));
    const key = `grant:${readToken("access", tokens.access_token)?.grantId}`;
    const lines = read("records.jsonl")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const sealed = lines.findLast((line) => line.key === key)?.record;
    const grant = JSON.parse(createSealer([secretKey]).open(sealed, key) ?? "{}");
    const fields = { client_id: "mcp-oidc-proxy", client_secret: clientSecret };
    const response = await fetch(`http://localhost:${port + 1}/token`, {
      method: "POST",
      // This spends it, so it can be asked once.
      body: new URLSearchParams({
        ...fields,
        grant_type: "refresh_token",
        refresh_token: grant.upstream.refreshToken,
      }),
    });
    return response.status;
  }
});
