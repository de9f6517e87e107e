/** What a tool, resource or prompt returns when it needs something of the person, or of their client, to go on. */
import {
  type CreateMessageRequestParams,
  type ElicitInputParams,
  type InputRequest,
  type InputRequests,
  inputRequired as wire,
  acceptedContent as wireAcceptedContent,
  inputResponse as wireInputResponse,
} from "@modelcontextprotocol/server";
import type { z } from "zod";
import type { RequestContext } from "./request-context.ts";

/** The answer "ask first": made by {@link inputRequired}. */
export class InputRequired {
  readonly inputRequests: InputRequests;
  readonly state: unknown;

  constructor({ inputRequests, state }: { inputRequests: InputRequests; state?: unknown }) {
    if (Object.keys(inputRequests).length === 0)
      throw new TypeError("inputRequired() needs something to ask for in inputRequests.");
    this.inputRequests = inputRequests;
    this.state = state === undefined ? undefined : asJson(state);
  }
}

/** What a client brings back: the same for those that never carry it, so that no tool works with some clients only. */
function asJson(state: unknown): unknown {
  try {
    return JSON.parse(JSON.stringify(state));
  } catch (cause) {
    throw new TypeError("The state given to inputRequired() is not what JSON can say.", { cause });
  }
}

/** What a tool, resource or prompt returns: its answer, or {@link inputRequired}. */
export type Returned<Answer> = Answer | InputRequired | Promise<Answer | InputRequired>;

/**
 * Return this to ask. The function then runs again from its beginning, with the answers in `call.inputResponses` and
 * `state` in `call.state`, perhaps on another replica: do nothing before asking that must not be done twice, and keep in
 * `state` what JSON can say of the work so far. It is sealed: only the same session can bring it back, for the same
 * arguments, within an hour; but it may do so twice.
 *
 * Clients of both protocol generations are asked in their own way (MCP 2026-07-28, multi round-trip requests; before that,
 * requests of the server). What a client cannot be asked is answered for it as an error: see `call.clientCapabilities`.
 * @throws TypeError if nothing is asked, or JSON cannot say the state
 */
export function inputRequired(asked: { inputRequests: InputRequests; state?: unknown }): InputRequired {
  return new InputRequired(asked);
}

/** Asks the person to fill in a form of flat fields: `requestedSchema` is a `z.object()` of them, or JSON Schema. */
export function elicit(form: ElicitInputParams): InputRequest {
  return wire.elicit(form);
}

/** Asks the person to open a URL. That they accept says that they opened it, not that they finished there. */
export function elicitUrl(page: { message: string; url: string }): InputRequest {
  return wire.elicitUrl(page);
}

/** Asks the client's model. */
export function createMessage(request: CreateMessageRequestParams): InputRequest {
  return wire.createMessage(request);
}

/** Asks which folders the client works in. */
export function listRoots(): InputRequest {
  return wire.listRoots();
}

/**
 * What a person entered into the form that was asked for as `key`, validated by `schema`. Undefined if they have not been
 * asked, declined, or entered something else.
 */
export function acceptedContent<Content>(
  responses: RequestContext["inputResponses"],
  key: string,
  schema: z.ZodType<Content>,
): Content | undefined {
  return wireAcceptedContent(responses, key, schema);
}

/** The answer to what was asked for as `key`, whatever its kind: "missing" if there is none. Not validated. */
export function inputResponse(responses: RequestContext["inputResponses"], key: string): InputResponse {
  return wireInputResponse(responses, key);
}

/** What {@link inputResponse} gives: an answer to `elicit` or `elicitUrl`, to `createMessage` (sampling), or to `listRoots`. */
export type InputResponse = ReturnType<typeof wireInputResponse>;
