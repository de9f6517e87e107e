/**
 * The server behind the dev proxy, replaced at every change of its code. The new process loads the code while the
 * old one still answers; only if that went well does the old one end, let go of the store, and the new one listen.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Environment } from "../../src/config/settings.ts";
import { isFromSources } from "../command-line.ts";
import type { DevProxy } from "./dev-proxy.ts";
import type { FromServer, ToServer } from "./messages.ts";

export interface ReplaceableServer {
  /** Requests wait from here on. */
  hold(): void;
  /** Resolves when the newest code is in use, or was refused. */
  replace(): Promise<void>;
  stop(): Promise<void>;
}

interface Options {
  proxy: DevProxy;
  /** All that the server's process has of an environment. */
  environment: Environment;
  /** The file of its records. */
  store: string;
  /** The new server is about to listen. */
  onLoaded(scopes: string[]): void;
  /** The new server answers. */
  onReady(isFirst: boolean): void;
  /** It takes so long that requests go on to the last good server, if there is one. */
  onSlow(): void;
  /** The code cannot be used. */
  onProblem(problem: string, lastGoodRuns: boolean): void;
}

/** Requests wait this long for a new server. */
const PATIENCE_MS = 20_000;
/** Calls that the old server has begun may finish. */
const IN_FLIGHT_MS = 3_000;
const STOP_MS = 5_000;
/** A server that ended sooner than this would do so again. */
const CRASHED_EARLY_MS = 2_000;

export function replaceableServer({
  proxy,
  environment,
  store,
  onLoaded,
  onReady,
  onSlow,
  onProblem,
}: Options): ReplaceableServer {
  let current: { child: ChildProcess; port: number } | undefined;
  let loading: ChildProcess | undefined;
  let isFirst = true;
  let asked = 0;
  let replacing: Promise<void> | undefined;
  let isStopping = false;

  async function replaceOnce(isLatest: () => boolean): Promise<void> {
    const next = startChild(environment);
    loading = next;
    const patience = setTimeout(() => {
      onSlow();
      if (current !== undefined) proxy.forwardTo(current.port);
    }, PATIENCE_MS);
    try {
      const { scopes } = await told(next, "loaded", { do: "load", store });
      loading = undefined;
      onLoaded(scopes);
      // Again: requests that waited too long went on to the old server.
      proxy.hold();
      await proxy.idle(IN_FLIGHT_MS);
      const previous = current;
      current = undefined; // so that its end is no crash
      await end(previous?.child);
      const { port } = await told(next, "listening", { do: "listen" });
      current = { child: next, port };
      watchForCrash(next);
      if (isLatest()) proxy.forwardTo(port);
      onReady(isFirst);
      isFirst = false;
    } catch (error) {
      next.kill("SIGKILL");
      if (isLatest() && !isStopping) release(error instanceof Error ? error.message : String(error));
    } finally {
      clearTimeout(patience);
      loading = undefined;
    }
  }

  /** Waiting requests go to the last good server, or get the error. */
  function release(problem: string): void {
    onProblem(problem, current !== undefined);
    if (current === undefined) proxy.refuse(`The server does not start: ${problem}`);
    else proxy.forwardTo(current.port);
  }

  async function replaceUntilLatest(): Promise<void> {
    for (let done = -1; done !== asked && !isStopping; ) {
      const attempt = asked;
      await replaceOnce(() => attempt === asked);
      done = attempt;
    }
  }

  function replace(): Promise<void> {
    asked++;
    proxy.hold();
    // The code that it loads is outdated by now.
    loading?.kill("SIGKILL");
    replacing ??= replaceUntilLatest().finally(() => {
      replacing = undefined;
    });
    return replacing;
  }

  function watchForCrash(child: ChildProcess): void {
    const startedAt = performance.now();
    child.once("exit", (code, signal) => {
      if (current?.child !== child || isStopping) return;
      current = undefined;
      const problem = `The server ended by itself (${signal ?? `exit code ${code}`}).`;
      onProblem(problem, false);
      if (performance.now() - startedAt > CRASHED_EARLY_MS) void replace();
      else proxy.refuse(`${problem} It is started again when a file changes.`);
    });
  }

  return {
    hold: proxy.hold,
    replace,
    async stop() {
      isStopping = true;
      loading?.kill("SIGKILL");
      await end(current?.child);
      current = undefined;
    },
  };
}

function startChild(env: Environment): ChildProcess {
  const program = isFromSources ? "./child.ts" : "./child.js";
  return fork(new URL(program, import.meta.url), { env, execArgv: loaders() });
}

/** Modules of tools may be TypeScript, which Node reads by itself since 22.18, and tsx where it is installed. */
function loaders(): string[] {
  try {
    const tsx = createRequire(join(process.cwd(), "package.json")).resolve("tsx");
    return ["--import", pathToFileURL(tsx).href];
  } catch {
    return [];
  }
}

/** Sends a message to the child, and waits for its answer. @throws Error with what went wrong there */
async function told<Kind extends FromServer["is"]>(
  child: ChildProcess,
  kind: Kind,
  message: ToServer,
): Promise<Extract<FromServer, { is: Kind }>> {
  const over = new AbortController();
  const { signal } = over;
  try {
    const answer = once(child, "message", { signal });
    child.send(message);
    const ended = once(child, "exit", { signal }).then(() => {
      throw new Error("It ended while it was starting; what it wrote is above.");
    });
    const [word] = (await Promise.race([answer, ended])) as [FromServer];
    if (word.is === "failed") throw new Error(word.problem);
    if (word.is !== kind) throw new Error(`It said "${word.is}" instead of "${kind}".`);
    return word as Extract<FromServer, { is: Kind }>;
  } finally {
    over.abort();
  }
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  const kill = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
  child.send({ do: "stop" } satisfies ToServer);
  await exited;
  clearTimeout(kill);
}
