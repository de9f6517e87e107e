/**
 * JSON-RPC messages that everybody reads alike. A backend gets the bytes that the client sent, and judges them with a parser of its
 * own: what that could read otherwise than the gate does, goes no further.
 */

import { endOfString, skipSpace } from "../../runtime/json-text.ts";
import type { Message } from "../authoring/features.ts";
import { UNSEEN } from "../backends/backend-features.ts";
import { foldCase, MAX_ID_LENGTH } from "../backends/json-scan.ts";

/** RFC 8259 §4: of a name that comes twice some take the first value, some the last. */
export function repeatsName(text: string): boolean {
  const open: Array<Set<string> | undefined> = [];
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === "{") open.push(new Set());
    else if (character === "[") open.push(undefined);
    else if (character === "}" || character === "]") open.pop();
    else if (character === '"') {
      const end = endOfString(text, at);
      const names = open.at(-1);
      if (names !== undefined && text[skipSpace(text, end)] === ":") {
        const name = JSON.parse(text.slice(at, end)) as string;
        if (names.has(name)) return true;
        names.add(name);
      }
      at = end - 1;
    }
  }
  return false;
}

const MEMBERS = new Set(["jsonrpc", "id", "method", "params", "result", "error"]);
/**
 * What the gate decides by, and what becomes another value for a process that several callers share. Go's parser, for one, finds
 * `name` in `Name` too.
 */
const DECIDING = [
  "name",
  "uri",
  "ref",
  "type",
  "_meta",
  "progressToken",
  "task",
  "notifications",
  "resourceSubscriptions",
];
const SPELLINGS = new Map(DECIDING.map((name) => [foldCase(name), name]));

/** The messages of a body; undefined if one is none that everybody takes for the same. */
export function plainMessages(body: unknown): readonly Message[] | undefined {
  const said: unknown[] = Array.isArray(body) ? body : [body];
  if (said.length === 0 || !said.every(isPlain)) return undefined;
  const ids = (said as Message[]).flatMap(({ id, method }) => (method === undefined ? [] : (id ?? [])));
  return new Set(ids).size === ids.length ? (said as Message[]) : undefined;
}

function isPlain(message: unknown): boolean {
  if (!isObject(message) || message.jsonrpc !== "2.0") return false;
  const { id, method, params } = message;
  if (!Object.keys(message).every((name) => MEMBERS.has(name))) return false;
  if (id !== undefined && typeof id !== "string" && !Number.isSafeInteger(id)) return false;
  // Its answer is known by it. Those of the backend's own requests are the backend's business.
  if (method !== undefined && typeof id === "string" && id.length > MAX_ID_LENGTH) return false;
  const isAnswer = "result" in message !== "error" in message && id !== undefined;
  if (method === undefined) return isAnswer && params === undefined;
  if (typeof method !== "string" || "result" in message || "error" in message) return false;
  // A notification asks for nothing, and everything else for an answer.
  if (method.startsWith("notifications/") !== (id === undefined)) return false;
  if (params === undefined) return true;
  return isObject(params) && [params, params.ref, params._meta, params.notifications].every(isSpelledOut);
}

function isSpelledOut(value: unknown): boolean {
  if (!isObject(value)) return true;
  return Object.keys(value).every((name) => {
    const meant = SPELLINGS.get(foldCase(name));
    return (meant === undefined || meant === name) && !UNSEEN.test(name);
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
