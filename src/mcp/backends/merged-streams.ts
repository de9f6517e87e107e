/** What several servers say by themselves, as one stream: it ends with the first of theirs that does. */
import { once, setMaxListeners } from "node:events";
import { PassThrough } from "node:stream";
import { type AnswerBody, bodyOf, drop } from "./answer-body.ts";
import { type BackendAnswer, BackendError, isEventStream } from "./backend.ts";
import { renamed } from "./merged-answers.ts";
import { empty } from "./own-answers.ts";

/**
 * @param servers each with what asks it for its stream, until the signal is aborted
 * @returns 405 if none has one
 */
export async function streamOfAll(
  servers: ReadonlyMap<string, (signal: AbortSignal) => Promise<BackendAnswer>>,
  maxAnswerBytes: number,
  gone: AbortSignal,
): Promise<BackendAnswer> {
  const over = new AbortController();
  const signal = AbortSignal.any([gone, over.signal]);
  // Each server listens to both: of more than ten Node.js warns as of a leak.
  setMaxListeners(0, signal, over.signal);
  const opening = [...servers].map(async ([server, open]) => {
    const answer = await open(signal);
    if (isEventStream(answer)) return renamed(answer, server, maxAnswerBytes).body;
    drop(answer.body);
    throw new BackendError("backend_answer_unusable", `It answered ${answer.status}.`);
  });
  try {
    await Promise.any(opening);
  } catch {
    return empty(405, { allow: "POST, DELETE" });
  }
  const body = new PassThrough().setMaxListeners(0);
  body.once("close", () => over.abort());
  for (const opened of opening)
    opened.then(
      (stream) => void passed(stream),
      () => {}, // it has none: the others have
    );
  return { status: 200, headers: { "content-type": "text/event-stream" }, body: bodyOf(body) };

  /** Its client would never hear that one is missing: it comes again when it is over, and has all of them anew. */
  async function passed(stream: AnswerBody): Promise<void> {
    try {
      for await (const event of stream) {
        if (body.writableEnded) return;
        if (!body.write(event)) await once(body, "drain", { signal: over.signal });
      }
    } catch {
      // It broke off, or another did.
    } finally {
      body.end();
      over.abort();
    }
  }
}
