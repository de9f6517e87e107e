/**
 * Questions that a call asks its client (elicitation, sampling, roots of the 2025 generation). The client sends its answer
 * as a request of its own, which may come to any replica: it is left in the store, and whoever asked is told.
 */
import { z } from "zod";
import type { Records, Store } from "../storage/store.ts";
import type { Surroundings } from "../surroundings.ts";

/** An open question, and in the end what the client answered. */
export const AskedQuestion = z.object({ answer: z.looseObject({}).optional() });
export type AskedQuestion = z.infer<typeof AskedQuestion>;

/** How long people may take. */
export const ANSWER_SECONDS = 600;

/** A JSON-RPC response: its `id` is the question's. */
export interface Answer {
  id: string;
  [member: string]: unknown;
}

export interface Question {
  /** Tells the client which question its answer is for. Nobody can guess it. */
  readonly id: string;
  /** Undefined after {@link Question.drop}. */
  readonly answer: Promise<AskedQuestion["answer"]>;
  /** Nobody waits for an answer any more. */
  drop(): Promise<void>;
}

export interface Questions {
  ask(grantId: string): Promise<Question>;
  /** False if this grant was not asked that, or has answered: an answer counts once. */
  answer(grantId: string, answer: Answer): Promise<boolean>;
}

interface Options extends Pick<Surroundings, "randomBytes"> {
  store: Store<AskedQuestion>;
  records: Pick<Records, "watch">;
}

const KIND = "question";
const PREFIX = "ask_";
// Redis failed over, or nobody answered in time: nobody can answer it any more.
const LOST = { code: -32_603, message: "the question is not there any more" }; // JSON-RPC 2.0 §5.1
// Against a word that got lost: the store is the truth.
const LOOK_MS = 5_000;

export function createQuestions({ store, records, randomBytes }: Options): Questions {
  /** Those that this process waits for, by their keys in the store. */
  const waiting = new Map<string, () => void>();
  records.watch(KIND, (key) => waiting.get(key.slice(KIND.length + 1))?.());

  return {
    async ask(grantId) {
      const id = PREFIX + randomBytes(16).toString("base64url");
      const key = `${grantId}:${id}`;
      await store.put(key, {}, ANSWER_SECONDS);
      let settle: (answer: AskedQuestion["answer"]) => void = () => {};
      const answer = new Promise<AskedQuestion["answer"]>((resolve) => {
        settle = resolve;
      });
      const look = () => {
        // During an outage the next look finds what this one did not.
        store.get(key).then(
          (found) => {
            if (found === undefined) void end({ jsonrpc: "2.0", error: LOST });
            else if (found.answer !== undefined) void end(found.answer);
          },
          () => {},
        );
      };
      const looking = setInterval(look, LOOK_MS).unref();
      waiting.set(key, look);
      async function end(answered?: AskedQuestion["answer"]): Promise<void> {
        clearInterval(looking);
        waiting.delete(key);
        settle(answered);
        await store.delete(key).catch(() => {}); // it ends by itself, too
      }
      return { id, answer, drop: () => end() };
    },
    answer: (grantId, answer) =>
      store.update<boolean>(`${grantId}:${answer.id}`, (question) =>
        question === undefined || question.answer !== undefined
          ? { result: false }
          : { write: { answer }, ttlSeconds: ANSWER_SECONDS, result: true },
      ),
  };
}

/** Whether a message answers a question of ours. */
export function isAnswer(message: unknown): message is Answer {
  const { id, method } = (message ?? {}) as { id?: unknown; method?: unknown };
  return method === undefined && typeof id === "string" && id.startsWith(PREFIX);
}
