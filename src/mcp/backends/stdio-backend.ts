/**
 * A backend over stdio: a program that this server starts. What its clients know of as a session is only a name, under which they
 * cancel: each request stands by itself, so that any replica serves it, and a process that was started again does, too.
 */
import { randomUUID } from "node:crypto";
import { Readable } from "node:stream";
import { placesIn, skipSpace } from "../../runtime/json-text.ts";
import type { Message } from "../authoring/features.ts";
import { bodyOf } from "./answer-body.ts";
import { type Backend, type BackendAnswer, BackendError, type BackendRequest } from "./backend.ts";
import {
  answerTo,
  empty,
  isOfOtherGeneration,
  json,
  METHOD_NOT_FOUND,
  REFUSED,
  refusal,
  unsupportedVersion,
  VERSIONS,
  type WrittenRequest,
} from "./own-answers.ts";
import type { Introduction, StdioConnection, StdioConnectionOptions } from "./stdio-connection.ts";
import { stdioConnections } from "./stdio-connections.ts";

export type StdioBackendOptions = Omit<StdioConnectionOptions, "isKeptRunning">;

/** What concerns nobody but who asks. */
const ASKED: ReadonlySet<unknown> = new Set([
  "tools/list",
  "tools/call",
  "prompts/list",
  "prompts/get",
  "resources/list",
  "resources/templates/list",
  "resources/read",
  "completion/complete",
]);

export function stdioBackend(options: StdioBackendOptions): Backend {
  const { name, reach } = options;
  const connections = stdioConnections(options);
  /** By session and id, as their client calls them. */
  const running = new Map<string, () => void>();
  const leave = killedAtExit(() => connections.kill());

  return {
    name,
    async send(request): Promise<BackendAnswer> {
      if (request.method === "DELETE") return empty(204);
      if (request.method === "GET") return empty(405, { allow: "POST, DELETE" });
      const said = messagesIn(Buffer.from(request.body ?? []).toString("utf8"));
      const requests = said.filter(({ message }) => message.id !== undefined && message.method !== undefined);
      const session = request.headers["mcp-session-id"] ?? "";
      for (const { message } of said)
        if (message.method === "notifications/cancelled")
          running.get(callOf(session, message.params?.requestId))?.();
      const [first] = requests;
      if (first === undefined) return empty(202);
      if (isOfOtherGeneration(request, first.message)) return unsupportedVersion(first, request);
      if (!acceptsStream(request))
        return json(406, first, refusal(REFUSED, "Accept text/event-stream, too."));
      const connection = connections.of(request.caller?.principal);
      const introduction = await connection.introduced();
      if (request.signal.aborted)
        throw new BackendError("backend_unreachable", "Its client did not wait for its start.");
      if (first.message.method === "initialize") {
        const answer = json(200, first, introducedAs(introduction, first.message));
        return { ...answer, headers: { ...answer.headers, "mcp-session-id": randomUUID() } };
      }
      return asked(requests, connection, { session, signal: request.signal });
    },
    async close() {
      leave();
      await connections.close();
    },
  };

  /** A stream with all answers, which begins at once. */
  function asked(
    requests: readonly WrittenRequest[],
    connection: StdioConnection,
    { session, signal }: { session: string; signal: AbortSignal },
  ): BackendAnswer {
    const body = new Readable({ read() {} });
    const tell = (message: string) => {
      if (body.readableLength > reach.maxAnswerBytes)
        return void body.destroy(new BackendError("backend_answer_unusable", "Its client does not take it."));
      // Between values some parsers take a line break as the end of an event.
      body.push(`event: message\ndata: ${message.replaceAll("\r", " ")}\n\n`);
    };
    const waiting = new Map<string, () => void>();
    const over = (call: string) => {
      waiting.delete(call);
      running.delete(call);
      if (waiting.size === 0) body.push(null);
    };
    const stop = () => {
      for (const [call, cancel] of waiting) {
        running.delete(call);
        cancel();
      }
    };
    body.once("close", stop);
    // It may fail before anybody reads it, who is told all the same: an error that nobody hears would end this server.
    body.on("error", () => {});
    const hungUp = () => void body.destroy();
    signal.addEventListener("abort", hungUp, { once: true });
    body.once("close", () => signal.removeEventListener("abort", hungUp));
    const ask = (request: WrittenRequest) => {
      const call = callOf(session, request.message.id);
      const cancel = connection.ask(request, {
        progressed: tell,
        answered(answer) {
          tell(answer);
          over(call);
        },
        failed: (error) => void body.destroy(error),
      });
      waiting.set(call, cancel);
      running.set(call, () => {
        cancel();
        over(call);
      });
    };
    try {
      for (const request of requests) {
        const { method } = request.message;
        if (ASKED.has(method)) ask(request);
        else tell(answerTo(request, method === "ping" ? '"result":{}' : NOT_HERE));
      }
    } catch (error) {
      stop(); // what it was already asked
      body.destroy();
      throw error;
    }
    if (waiting.size === 0) body.push(null);
    return { status: 200, headers: { "content-type": "text/event-stream" }, body: bodyOf(body) };
  }
}

/** What ends when this process does. One listener for all of them: of more than ten Node.js warns as of a leak. */
const atExit = new Set<() => void>();

function killAll(): void {
  for (const kill of atExit) kill();
}

/** @returns what ends it without that */
function killedAtExit(kill: () => void): () => void {
  if (atExit.size === 0) process.once("exit", killAll);
  atExit.add(kill);
  return () => {
    if (atExit.delete(kill) && atExit.size === 0) process.off("exit", killAll);
  };
}

/** Each as it was written: one, or those of a batch. */
function messagesIn(text: string): WrittenRequest[] {
  const content = JSON.parse(text) as Message | Message[];
  const start = skipSpace(text, 0);
  if (!Array.isArray(content)) return [{ text: text.slice(start), message: content }];
  return placesIn(text, start).map(([from, to], index) => ({
    text: text.slice(from, to),
    message: content[index] as Message,
  }));
}

function callOf(session: string, id: unknown): string {
  return JSON.stringify([session, id]);
}

function acceptsStream({ headers: { accept = "" } }: BackendRequest): boolean {
  return /text\/event-stream|text\/\*|\*\/\*/i.test(accept);
}

/** What it can be asked here: nothing that only one of its clients could have changed for all, or heard of. */
function introducedAs({ capabilities, ...introduction }: Introduction, { params }: Message): string {
  const offered = ["tools", "prompts", "resources", "completions"].filter((each) => each in capabilities);
  const asked = VERSIONS.indexOf(params?.protocolVersion as string);
  const known = VERSIONS.indexOf(introduction.protocolVersion);
  const result = {
    ...introduction,
    ...(asked !== -1 && asked < known && { protocolVersion: VERSIONS[asked] }),
    capabilities: Object.fromEntries(offered.map((each) => [each, {}])),
  };
  return `"result":${JSON.stringify(result)}`;
}

const NOT_HERE = refusal(METHOD_NOT_FOUND, "The server behind this one cannot be asked that here.");
