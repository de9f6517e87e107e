/** Tools that ask before they act, and a client of each generation by hand: every message can go to another replica. */
import { z } from "zod";
import { type Answer, openRequest, sendRequest } from "../../dev/client/http.ts";
import { initializeRequest, sessionMessage, statelessRequest } from "../../dev/client/mcp.ts";
import { definePrompt } from "../../src/mcp/authoring/define-prompt.ts";
import { defineTool } from "../../src/mcp/authoring/define-tool.ts";
import { acceptedContent, elicit, inputRequired } from "../../src/mcp/authoring/input-required.ts";

const Sure = z.object({ sure: z.boolean() });

/** What was really deleted, by a tool that asks first. */
export const deleted: string[] = [];

export const deleteNote = defineTool({
  name: "delete_note",
  description: "Deletes a note, if the person is sure",
  input: z.object({ note: z.string(), folder: z.string().optional() }),
  run({ note }, { inputResponses, state }) {
    const sure = acceptedContent(inputResponses, "sure", Sure)?.sure;
    if (state !== "asked" || sure === undefined) {
      const ask = elicit({ message: `Delete ${note}?`, requestedSchema: Sure });
      return inputRequired({ inputRequests: { sure: ask }, state: "asked" });
    }
    if (!sure) return "Kept";
    deleted.push(note);
    return `Deleted ${note}`;
  },
});

/** The same tool under another name: what one was asked is not an answer for the other. */
export const burnNote = {
  ...deleteNote,
  name: "burn_note",
  listing: { ...deleteNote.listing, name: "burn_note" },
};

export const greeting = definePrompt({
  name: "greeting",
  description: "Asks for a name",
  run(_args, { inputResponses }) {
    const Name = z.object({ name: z.string() });
    const name = acceptedContent(inputResponses, "name", Name)?.name;
    if (name !== undefined) return `Greet ${name}`;
    return inputRequired({
      inputRequests: { name: elicit({ message: "Whom?", requestedSchema: Name }) },
    });
  },
});

const client = { name: "by hand", version: "1" };

/** `initialize` of the 2025 generation; the session id that the server gave. */
export async function introduce(url: string, accessToken: string, capabilities: object): Promise<string> {
  const answer = await sendRequest(initializeRequest(url, { client, capabilities, accessToken }));
  return answer.headers.get("mcp-session-id") ?? "";
}

export interface OpenCall {
  /** The next message that the server sends, or undefined when it has ended. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into messages of every shape
  next(): Promise<any>;
  /** Goes away. */
  leave(): Promise<void>;
}

export interface Session {
  accessToken: string;
  sessionId: string;
}

/** A request of the 2025 generation whose answer takes a while. */
export async function openCall(
  url: string,
  session: Session,
  method: string,
  params: object,
): Promise<OpenCall> {
  const left = new AbortController();
  const request = sessionMessage(url, { id: 7, method, params }, session);
  const messages = messagesOf(await openRequest(request, left.signal));
  return {
    next: async () => (await messages.next()).value,
    leave: async () => left.abort(),
  };
}

async function* messagesOf(response: Response): AsyncGenerator {
  const isStream = response.headers.get("content-type")?.startsWith("text/event-stream");
  if (!isStream) return yield await response.json();
  let text = "";
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const events = text.split("\n\n");
    text = events.pop() ?? "";
    for (const event of events) {
      const data = event.split("\n").find((line) => line.startsWith("data: "));
      if (data !== undefined) yield JSON.parse(data.slice("data: ".length));
    }
  }
}

/** The client's answer to what it was asked, as a request of its own. */
export function reply(url: string, session: Session, id: unknown, result: object): Promise<Answer> {
  return sendRequest(sessionMessage(url, { id, result }, session));
}

/** Takes back the request of {@link openCall}, in a request of its own. */
export function cancel(url: string, session: Session): Promise<Answer> {
  const message = { method: "notifications/cancelled", params: { requestId: 7 } };
  return sendRequest(sessionMessage(url, message, session));
}

/** A request of 2026-07-28, with what that generation says in every one. */
export function modern(
  url: string,
  accessToken: string,
  method: string,
  { capabilities = { elicitation: {} }, meta = {}, ...params }: ModernParameters = {},
): Promise<Answer> {
  return sendRequest(statelessRequest(url, { method, params }, { client, capabilities, accessToken, meta }));
}

interface ModernParameters {
  capabilities?: object;
  meta?: object;
  [parameter: string]: unknown;
}
