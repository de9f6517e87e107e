/** What one of several servers answers, as far as it becomes a part of their one answer. */
import { z } from "zod";
import { parseJsonObject } from "../../oauth/json.ts";
import { placeOf, placesIn } from "../../runtime/json-text.ts";
import { type BackendAnswer, BackendError } from "./backend.ts";
import { messagesOf } from "./merged-answers.ts";

/** The answer among what a server says to one request. @throws BackendError */
export async function answerIn(answer: BackendAnswer, id: unknown, maxBytes: number): Promise<WrittenAnswer> {
  try {
    for await (const { text } of messagesOf(answer, maxBytes)) {
      const message = parseJsonObject(text) ?? {};
      const isAnswer = message.method === undefined && message.id === id && "result" in message;
      // Of what it could not read it does not know the id (JSON-RPC 2.0 §5).
      const isError = message.method === undefined && [id, null].includes(message.id) && "error" in message;
      if (isAnswer || isError) return { text: text.slice(text.indexOf("{")), result: message.result };
    }
  } catch (cause) {
    if (cause instanceof BackendError) throw cause;
    throw new BackendError("backend_broke_off", (cause as Error).message, { cause });
  }
  throw new BackendError("backend_answer_unusable", `It answered ${answer.status} without an answer.`);
}

interface WrittenAnswer {
  readonly text: string;
  /** Absent: it is an error. */
  readonly result: unknown;
}

const Introduction = z.object({
  protocolVersion: z.string(),
  capabilities: z.record(z.string(), z.unknown()),
  instructions: z.string().optional(),
});

export function introductionIn({ result }: WrittenAnswer): z.infer<typeof Introduction> {
  const { data } = Introduction.safeParse(result);
  if (data === undefined) throw new BackendError("backend_answer_unusable", "It did not introduce itself.");
  return data;
}

/** What some of them can, the resource can. */
export function capabilitiesOfAll(
  each: ReadonlyArray<Readonly<Record<string, unknown>>>,
): Record<string, object> {
  const names = ["tools", "prompts", "resources", "completions", "logging"];
  return Object.fromEntries(
    names.flatMap((name) => {
      const found = each.flatMap((capabilities) => (name in capabilities ? [capabilities[name]] : []));
      const can = (what: string) =>
        found.some((one) => (one as Record<string, unknown> | null)?.[what] === true);
      const more = ["listChanged", "subscribe"].filter(can).map((what) => [what, true]);
      return found.length === 0 ? [] : [[name, Object.fromEntries(more)]];
    }),
  );
}

/** A server that does not have such a list answers with an error. */
export function pageIn(
  { text, result }: WrittenAnswer,
  list: string,
  by: string,
): { entries: Array<{ text: string; named: string }>; next: string | undefined } {
  const { [list]: entries, nextCursor } = (result ?? {}) as Record<string, unknown>;
  if (!Array.isArray(entries)) return { entries: [], next: undefined };
  const [open] = placeOf(text, 0, ["result", list]);
  const places = placesIn(text, open);
  return {
    entries: entries.flatMap((entry, index) => {
      const named = (entry as Record<string, unknown> | null)?.[by];
      const [from, to] = places[index] ?? [];
      return typeof named === "string" ? [{ text: text.slice(from, to), named }] : [];
    }),
    next: typeof nextCursor === "string" ? nextCursor : undefined,
  };
}
