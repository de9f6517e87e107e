/** What one of several backends answers, under the names that it has behind the one resource. */
import { Readable } from "node:stream";
import { createParser, type EventSourceMessage } from "eventsource-parser";
import { parseJsonObject } from "../../oauth/json.ts";
import { type Change, changed, placeOf, placesIn } from "../../runtime/json-text.ts";
import { type AnswerBody, bodyOf } from "./answer-body.ts";
import { type BackendAnswer, BackendError, isEventStream } from "./backend.ts";
import { prefixed } from "./merged-names.ts";

/** One event of a stream, or a whole JSON body. */
interface Said {
  readonly text: string;
  readonly event?: Event;
}

/** With how long its client is to wait before it comes again, if that stands in it. */
interface Event extends EventSourceMessage {
  readonly retry?: number;
}

/**
 * The messages of an answer, as they come.
 * @throws BackendError if one has more than `maxBytes`
 */
export async function* messagesOf(answer: BackendAnswer, maxBytes: number): AsyncGenerator<Said> {
  if (isEventStream(answer)) return yield* eventsOf(answer.body, maxBytes);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer.body) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw tooLong(maxBytes);
    chunks.push(chunk);
  }
  if (bytes > 0) yield { text: Buffer.concat(chunks).toString("utf8") };
}

async function* eventsOf(body: AnswerBody, maxBytes: number): AsyncGenerator<Said> {
  let events: Event[] = [];
  let retry: number | undefined;
  let isTooLong = false;
  const parser = createParser({
    maxBufferSize: maxBytes,
    onEvent(event) {
      events.push(retry === undefined ? event : { ...event, retry });
      retry = undefined;
    },
    onRetry(milliseconds) {
      retry = milliseconds;
    },
    onError: ({ type }) => {
      isTooLong ||= type === "max-buffer-size-exceeded";
    },
  });
  const decoder = new TextDecoder();
  for await (const chunk of body) {
    parser.feed(decoder.decode(chunk, { stream: true }));
    for (const event of events) yield { text: event.data, event };
    events = [];
    if (isTooLong) throw tooLong(maxBytes);
  }
  // The last event may lack its end.
  parser.feed("\n\n");
  for (const event of events) yield { text: event.data, event };
}

function tooLong(maxBytes: number): BackendError {
  return new BackendError("backend_answer_unusable", `It has more than ${maxBytes} bytes in one answer.`);
}

/** The answer of one server as that of the resource. */
export function renamed(answer: BackendAnswer, server: string, maxBytes: number): BackendAnswer {
  const { "mcp-session-id": _, ...headers } = answer.headers;
  // The parts hear only with the next piece that nobody waits for it, and a stream may be silent for ever.
  const hangUp = () => answer.body.destroy(new Error("Nobody takes the rest of it."));
  return { ...answer, headers, body: bodyOf(Readable.from(renamedParts(answer, server, maxBytes)), hangUp) };
}

async function* renamedParts(
  answer: BackendAnswer,
  server: string,
  maxBytes: number,
): AsyncGenerator<Buffer> {
  try {
    for await (const { text, event } of messagesOf(answer, maxBytes)) {
      const message = renamedMessage(text, server);
      yield Buffer.from(event === undefined ? message : written(event, message, server));
    }
  } finally {
    answer.body.destroy();
  }
}

/** The client asks that server alone for what comes after an event. */
function written({ id, event, retry }: Event, message: string, server: string): string {
  const fields = [
    ...(retry === undefined ? [] : [`retry: ${retry}`]),
    ...(id === undefined ? [] : [`id: ${prefixed("id", server, id)}`]),
    ...(event === undefined ? [] : [`event: ${event}`]),
    ...message.split(/\r\n|\r|\n/).map((line) => `data: ${line}`),
  ];
  return `${fields.join("\n")}\n\n`;
}

/** What names something of its server: the id of what it asks, and URIs in what it says. */
function renamedMessage(text: string, server: string): string {
  const message = parseJsonObject(text);
  if (message === undefined) return text;
  const { method, id, params, result } = message as {
    method?: unknown;
    id?: unknown;
    params?: { uri?: unknown; requestId?: unknown };
    result?: { content?: unknown; contents?: unknown; messages?: unknown };
  };
  const start = text.indexOf("{");
  const renameId = (path: readonly string[]) => {
    const [from, to] = placeOf(text, start, path);
    const by = JSON.stringify(prefixed("id", server, text.slice(from, to)));
    return changed(text, [{ from, to, by }]);
  };
  if (typeof method === "string" && id !== undefined) return renameId(["id"]);
  if (method === "notifications/cancelled" && params?.requestId !== undefined)
    return renameId(["params", "requestId"]);
  const rename = (object: number, path: readonly string[]): Change => {
    const [from, to] = placeOf(text, object, path);
    return { from, to, by: JSON.stringify(prefixed("uri", server, JSON.parse(text.slice(from, to)))) };
  };
  if (method === "notifications/resources/updated")
    return typeof params?.uri === "string" ? changed(text, [rename(start, ["params", "uri"])]) : text;
  const changes = (["content", "contents", "messages"] as const).flatMap((list) => {
    const entries = result?.[list];
    if (!Array.isArray(entries)) return [];
    const [open] = placeOf(text, start, ["result", list]);
    const places = placesIn(text, open);
    return entries.flatMap((entry, index) => {
      const path = uriPath(entry, list);
      return path === undefined ? [] : [rename(places[index]?.[0] as number, path)];
    });
  });
  return changed(text, changes);
}

/** Where an entry of a result says the URI of a resource, if it does. */
function uriPath(entry: unknown, list: "content" | "contents" | "messages"): string[] | undefined {
  if (list === "messages") {
    const path = uriPath((entry as { content?: unknown } | null)?.content, "content");
    return path && ["content", ...path];
  }
  const { type, uri, resource } = (entry ?? {}) as {
    type?: unknown;
    uri?: unknown;
    resource?: { uri?: unknown };
  };
  if (list === "contents" || type === "resource_link") return typeof uri === "string" ? ["uri"] : undefined;
  return type === "resource" && typeof resource?.uri === "string" ? ["resource", "uri"] : undefined;
}
