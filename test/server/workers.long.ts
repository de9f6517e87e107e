/** WORKERS: several processes behind one port look like one server, also while one dies or all are replaced. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { builtProgram } from "../support/built-program.ts";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { skipWithoutRedisServer, startRedis, type TestRedis } from "../support/redis.ts";
import { START_SECONDS, untilServerIsReady } from "../support/server-process.ts";
import { SECRET_KEY } from "../support/test-server.ts";

interface Line {
  msg: string;
  worker?: number;
  reason?: string;
  path?: string;
}

describe("WORKERS=2", { skip: skipWithoutRedisServer() }, () => {
  let folder: string;
  let redis: TestRedis;
  let port: number;
  let primary: ChildProcess;
  const output = { text: "", errors: "" };

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "mcp-oidc-proxy-"));
    redis = await startRedis();
    port = await freePort();
    primary = start(environment());
    await untilServerIsReady(port);
    await eventually(
      "both listen",
      () => lines().some(({ msg }) => msg === "All worker processes listen"),
      START_SECONDS,
    );
  });
  after(async () => {
    primary.kill("SIGKILL");
    await redis.stop();
    await rm(folder, { recursive: true });
  });

  function environment(): Record<string, string> {
    return {
      WORKERS: "2",
      BASE_URL: `http://localhost:${port}`,
      PORT: String(port),
      HOST: "127.0.0.1",
      OIDC_ISSUER: "http://localhost:9",
      OIDC_CLIENT_ID: "proxy",
      OIDC_CLIENT_SECRET: "proxy-secret",
      REDIS_URL: redis.url,
      SECRET_KEY,
    };
  }

  /** In a folder where the test may write a file .env. */
  function start(settings: Record<string, string>): ChildProcess {
    const child = spawn(process.execPath, [builtProgram("src/cli/start")], {
      cwd: folder,
      env: { PATH: process.env.PATH, ...settings },
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.stdout.on("data", (chunk: Buffer) => {
      output.text += chunk.toString();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      output.errors += chunk.toString();
    });
    return child;
  }

  function lines(): Line[] {
    return output.text
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Line);
  }

  const workersOf = (path: string) =>
    new Set(
      lines().flatMap((line) => (line.path === path && line.worker !== undefined ? [line.worker] : [])),
    );

  /** On a connection of its own, as another client would. */
  async function request(path: string): Promise<{ status: number; text: string }> {
    // One that was lost on its way between two processes would wait for ever.
    const signal = AbortSignal.timeout(30_000);
    const asked = get({ port, path, agent: false, host: "127.0.0.1", signal });
    const [answer] = await once(asked, "response");
    let text = "";
    for await (const chunk of answer) text += String(chunk);
    return { status: answer.statusCode, text };
  }

  /** How many requests for /register, which none but the tests send. */
  async function counted(): Promise<number> {
    const { text } = await request("/metrics");
    const series = [...text.matchAll(/^mcp_http_request_seconds_count\{.*route="\/register".*\} (\d+)$/gm)];
    return series.reduce((sum, [, count]) => sum + Number(count), 0);
  }

  test("both answer, and the metrics of either are those of both", async () => {
    for (let i = 0; i < 20; i++) assert.equal((await request("/register")).status, 405);
    await eventually("both have answered", () => workersOf("/register").size === 2);
    assert.deepEqual(
      await Promise.all([counted(), counted(), counted(), counted()]),
      [20, 20, 20, 20],
      "whichever is asked",
    );
    assert.equal(
      (await request("/metrics")).text.match(/^mcp_http_request_seconds_count\{.*"\/register"/gm)?.length,
      1,
    );
  });

  test("one that dies is missed by nobody, another is started, and what it had counted stays counted", async () => {
    const before = await counted();
    const victim = await childOf(primary);
    process.kill(victim, "SIGKILL");
    await eventually("it was noticed", () => lines().some(({ reason }) => reason === "worker_died"));
    for (let i = 0; i < 5; i++) assert.equal((await request("/register")).status, 405);
    await eventually("a third one answers", async () => {
      await request("/healthz");
      return (await childrenOf(primary)).length === 2 && workersOf("/register").size >= 2;
    });
    assert.equal(await counted(), before + 5);
  });

  test("SIGHUP replaces them one by one with what .env says now, and no request is refused meanwhile", async () => {
    const old = await childrenOf(primary);
    await writeFile(join(folder, ".env"), "SERVER_NAME=Renamed\n");
    let isOver = false;
    const seen = new Set<number>();
    const asking = Array.from({ length: 4 }, async () => {
      while (!isOver) seen.add((await request("/healthz")).status);
    });
    const before = await counted();
    try {
      primary.kill("SIGHUP");
      // Whoever asks without a pause leaves the new ones little of the machine.
      await eventually(
        "all are replaced",
        () => lines().some(({ msg }) => msg === "All worker processes were replaced"),
        2 * START_SECONDS,
      );
      await eventually("the old ones are gone", async () => {
        const now = await childrenOf(primary);
        return now.length === 2 && now.every((pid) => !old.includes(pid));
      });
    } finally {
      isOver = true;
      await Promise.allSettled(asking);
    }
    await Promise.all(asking);
    assert.deepEqual([...seen], [200]);
    assert.match((await request("/")).text, /Renamed/);
    assert.equal(await counted(), before);
  });

  test("after SIGHUP with a wrong setting all go on as they are, and the log says so", async () => {
    const old = await childrenOf(primary);
    await writeFile(join(folder, ".env"), "LOG_LEVEL=loud\n");
    primary.kill("SIGHUP");
    await eventually("it is said", () => lines().some(({ reason }) => reason === "worker_not_replaced"));
    assert.match(output.errors, /LOG_LEVEL/);
    assert.deepEqual(await childrenOf(primary), old);
    assert.equal((await request("/healthz")).status, 200);
    await rm(join(folder, ".env"));
  });

  test("a second server on the same port says so once, and ends", async () => {
    const { length } = output.errors;
    const second = start(environment());
    const [code] = await once(second, "close");
    assert.equal(code, 1);
    assert.equal(output.errors.slice(length).match(/is in use/g)?.length, 1);
  });

  test("SIGTERM ends all of them, and the exit code is 0", async () => {
    const children = await childrenOf(primary);
    primary.kill("SIGTERM");
    const [code] = await once(primary, "close");
    assert.equal(code, 0);
    for (const pid of children) assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
  });
});

async function childrenOf({ pid }: ChildProcess): Promise<number[]> {
  const ps = spawn("ps", ["-o", "pid=", "--ppid", String(pid)], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const chunk of ps.stdout) text += String(chunk);
  return text.trim().split(/\s+/).filter(Boolean).map(Number);
}

async function childOf(parent: ChildProcess): Promise<number> {
  const [first] = await childrenOf(parent);
  assert.ok(first !== undefined);
  return first;
}
