/** The primary process of WORKERS, when all its workers are gone at once. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { eventually } from "../support/eventually.ts";
import { freePort } from "../support/free-port.ts";
import { START_SECONDS } from "../support/server-process.ts";

describe("the primary process of workers", { skip: process.platform !== "linux" && "reads /proc" }, () => {
  let folder: string;
  let primary: ChildProcess;
  let text: string;
  let port: number;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "workers-"));
    port = await freePort();
    text = "";
  });
  afterEach(async () => {
    primary.kill("SIGKILL");
    await rm(folder, { recursive: true });
  });

  function run(program: string, startMs = 60_000): void {
    primary = spawn(program, ["--import", "tsx", "test/support/workers-here.ts"], {
      env: {
        PATH: process.env.PATH,
        PORT: String(port),
        START_MS: String(startMs),
        HANG: join(folder, "hang"),
        DIE: join(folder, "die"),
      },
      stdio: ["ignore", "pipe", "inherit"],
    });
    primary.stdout?.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
  }

  const bothListen = () =>
    eventually("both listen", () => text.includes("All worker processes listen"), START_SECONDS);

  async function start(program: string, startMs?: number): Promise<void> {
    run(program, startMs);
    await bothListen();
  }

  async function workers(): Promise<number[]> {
    const { pid } = primary;
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
    const found = children.split(" ").filter(Boolean).map(Number);
    // One whose program could not be started is gone at once.
    const lines = await Promise.all(
      found.map((each) => readFile(`/proc/${each}/cmdline`, "utf8").catch(() => "")),
    );
    return found.filter((_, index) => lines[index]?.includes("workers-here"));
  }

  async function killAll(): Promise<void> {
    const found = await workers();
    assert.equal(found.length, 2);
    for (const pid of found) process.kill(pid, "SIGKILL");
    await eventually("it was noticed", () => text.match(/worker_died/g)?.length === 2);
  }

  async function exitCode(): Promise<unknown> {
    const exited = once(primary, "exit");
    primary.kill("SIGTERM");
    return (await exited)[0];
  }

  test("is stopped while it waits to start others: it ends as well as with workers", async () => {
    await start(process.execPath);
    await killAll();
    assert.equal(await exitCode(), 0);
  });

  test("does not wait for ever for one that does not listen: the others are replaced when they die", async () => {
    await start(process.execPath, 15_000);
    await writeFile(join(folder, "hang"), "600000");
    primary.kill("SIGHUP");
    await eventually("it was given up", () => text.includes("worker_not_replaced"), START_SECONDS);
    assert.equal((await workers()).length, 2);
    await rm(join(folder, "hang"));
    await killAll();
    await eventually("two are there again", async () => (await workers()).length === 2, START_SECONDS);
    assert.equal(await exitCode(), 0);
  });

  test("says that one ended before it listened, which nobody else can if it was killed, and tries again", async () => {
    await start(process.execPath);
    await writeFile(join(folder, "die"), "");
    await killAll();
    const said = /"reason":"worker_not_started".*"signal":"SIGKILL"/;
    await eventually("it is said", () => said.test(text), START_SECONDS);
    text = "";
    await rm(join(folder, "die"));
    await bothListen();
    assert.equal((await workers()).length, 2);
    assert.equal(await exitCode(), 0);
  });

  test("says why it ends when the first one was killed", async () => {
    await writeFile(join(folder, "die"), "");
    run(process.execPath);
    const [code] = await once(primary, "close");
    assert.equal(code, 1);
    assert.match(text, /"reason":"worker_not_started".*"signal":"SIGKILL"/);
  });

  test("takes SIGHUP from the beginning: whoever listens by then is replaced", async () => {
    await writeFile(join(folder, "hang"), "1500");
    run(process.execPath);
    await eventually(
      "the first one is on its way",
      async () => (await workers()).length === 1,
      START_SECONDS,
    );
    primary.kill("SIGHUP");
    await bothListen();
    await eventually("it was replaced", () => text.includes("were replaced"), START_SECONDS);
    assert.equal(await exitCode(), 0);
  });

  test("goes on when a process cannot be started, and tries again", async () => {
    const program = join(folder, "node");
    await copyFile(process.execPath, program);
    await start(program);
    await rm(program);
    await killAll();
    await eventually("a start failed", () => text.includes("worker_not_started"));
    await copyFile(process.execPath, program);
    await eventually("two are there again", async () => (await workers()).length === 2, START_SECONDS);
    assert.equal(await exitCode(), 0);
  });
});
