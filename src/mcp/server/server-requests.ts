/**
 * Server requests to a client (elicitation, sampling, roots) in the 2025 generation. The client sends its answer as a
 * request of its own, which may come to any replica: it is written to the store, and the change feed tells who asked.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { z } from "zod";
import type { Runtime } from "../../runtime/runtime.ts";
import type { Shutdown } from "../../runtime/shutdown.ts";
import type { KeyValueStore, Store } from "../../storage/store.ts";

/** An open server request, and in the end what the client answered. */
export const StoredServerRequest = z.object({ answer: z.looseObject({}).optional() });
export type StoredServerRequest = z.infer<typeof StoredServerRequest>;

/** How long people may take. */
export const ANSWER_SECONDS = 600;

/** A JSON-RPC response: its `id` is that of the server request. */
export interface Answer {
  id: string;
  [member: string]: unknown;
}

export interface ServerRequest {
  /** The JSON-RPC id that the client repeats in its answer. It cannot be guessed. */
  readonly id: string;
  /** Undefined after {@link ServerRequest.drop}. */
  readonly answer: Promise<StoredServerRequest["answer"]>;
  /** Nobody waits for an answer any more. */
  drop(): Promise<void>;
}

export interface ServerRequests {
  /** @param sessionKey see {@link Caller.sessionKey} */
  ask(sessionKey: string): Promise<ServerRequest>;
  /** False if this session was not asked that, or has answered: an answer counts once. */
  answer(sessionKey: string, answer: Answer): Promise<boolean>;
}

interface Options extends Pick<Runtime, "randomBytes"> {
  store: Store<StoredServerRequest>;
  records: Pick<KeyValueStore, "watch">;
  /** See {@link Shutdown.onShutdown}. */
  onShutdown?: Shutdown["onShutdown"];
}

interface Waiting {
  settle(answer: StoredServerRequest["answer"]): void;
  /** Of the watch, when it was last seen to be open: see there. */
  epoch: number | undefined;
  sweeps: number;
}

const KIND = "question";
const PREFIX = "ask_";
// Redis failed over, or nobody answered in time: nobody can answer it any more.
const LOST = { code: -32_603, message: "the request is not pending any more" }; // JSON-RPC 2.0 §5.1
const SWEEP_MS = 5_000;
// In case a published change was lost unnoticed: the store is authoritative.
const LOOK_EVERY = 12;
const AT_ONCE = 500;

export function createServerRequests({
  store,
  records,
  randomBytes,
  onShutdown = () => {},
}: Options): ServerRequests {
  /** Those that this process waits for, by their keys in the store. */
  const waiting = new Map<string, Waiting>();
  const watch = records.watch(KIND, (key) => look(key.slice(KIND.length + 1)));
  // A timer would keep the request that it was made in.
  const outside = AsyncLocalStorage.snapshot();
  let timer: NodeJS.Timeout | undefined;
  const over: string[] = [];
  let tidying: Promise<void> | undefined;
  onShutdown(async () => await tidying);

  /** Looks for answers whose publication was lost: immediately where that may have happened, otherwise now and then. */
  function sweep(): void {
    if (waiting.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
    for (const [key, serverRequest] of waiting) {
      const isPublished = watch.epoch !== undefined && watch.epoch === serverRequest.epoch;
      serverRequest.sweeps++;
      if (!isPublished || serverRequest.sweeps % LOOK_EVERY === 0) look(key);
    }
  }

  function look(key: string): void {
    const serverRequest = waiting.get(key);
    if (serverRequest === undefined) return;
    const { epoch } = watch;
    // During an outage the next look finds what this one did not.
    store.get(key).then(
      (found) => {
        if (found === undefined) end(key, { jsonrpc: "2.0", error: LOST });
        else if (found.answer !== undefined) end(key, found.answer);
        else serverRequest.epoch = epoch;
      },
      () => {},
    );
  }

  function end(key: string, answer?: StoredServerRequest["answer"]): void {
    const serverRequest = waiting.get(key);
    if (serverRequest === undefined) return;
    waiting.delete(key);
    serverRequest.settle(answer);
    over.push(key);
    tidying ??= tidyUp();
  }

  /** Many end together: a client hangs up, a process stops. What is left behind ends by itself, too. */
  async function tidyUp(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    while (over.length > 0) await store.deleteAll(over.splice(0, AT_ONCE)).catch(() => {});
    tidying = undefined;
  }

  return {
    async ask(sessionKey) {
      const id = PREFIX + randomBytes(16).toString("base64url");
      const key = `${sessionKey}:${id}`;
      const { epoch } = watch;
      await store.put(key, {}, ANSWER_SECONDS);
      const answer = new Promise<StoredServerRequest["answer"]>((settle) => {
        waiting.set(key, { settle, epoch, sweeps: 0 });
      });
      timer ??= outside(() => setInterval(sweep, SWEEP_MS).unref());
      return {
        id,
        answer,
        async drop() {
          end(key);
          await tidying;
        },
      };
    },
    answer: (sessionKey, answer) =>
      store.update<boolean>(`${sessionKey}:${answer.id}`, (serverRequest) =>
        serverRequest === undefined || serverRequest.answer !== undefined
          ? { result: false }
          : { write: { answer }, ttlSeconds: ANSWER_SECONDS, result: true },
      ),
  };
}

/** Whether a message is the response to a server request. */
export function isAnswer(message: unknown): message is Answer {
  const { id, method } = (message ?? {}) as { id?: unknown; method?: unknown };
  return method === undefined && typeof id === "string" && id.startsWith(PREFIX);
}
