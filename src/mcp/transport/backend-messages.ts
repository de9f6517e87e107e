/** Which messages and headers of a client go on to a backend. Pure. */
import type { IncomingMessage } from "node:http";
import { decodedHeader } from "../../http/encoded-header.ts";
import type { Message } from "../authoring/features.ts";
import type { UsedByMessages } from "./backend-uses.ts";
import { LIST_METHODS } from "./shown-lists.ts";

/** What a backend may see of the client's headers: none of them can be taken for who is calling. */
const PASSED =
  /^(accept|user-agent|last-event-id|mcp-protocol-version|mcp-method|mcp-name|mcp-param-[a-z0-9-]+)$/;
/** Its answer is a stream without an end. */
export const LISTEN = "subscriptions/listen";
/** What may be asked of a backend. */
const METHODS: ReadonlySet<unknown> = new Set([
  ...LIST_METHODS,
  "server/discover",
  "completion/complete",
  LISTEN,
  "tools/call",
  "prompts/get",
  "resources/read",
]);
/** What only clients before 2026-07-28 may: that revision has neither a handshake nor what follows from it. */
const OLDER_METHODS: ReadonlySet<unknown> = new Set([
  "initialize",
  "ping",
  "logging/setLevel",
  "resources/subscribe",
  "resources/unsubscribe",
]);

/** A request whose method is not one of those that are passed on. */
export function isOfNoMethod(message: Message): boolean {
  const { id, method } = message;
  if (id === undefined || method === undefined) return false;
  return !METHODS.has(method) && (isStateless(message) || !OLDER_METHODS.has(method));
}

/** Of MCP 2026-07-28, in which each request says all that the handshake said before. */
export function isStateless({ params }: Message): boolean {
  const _meta = params?._meta;
  return typeof _meta === "object" && _meta !== null && "io.modelcontextprotocol/protocolVersion" in _meta;
}

export function passedHeaders({ headers }: IncomingMessage): Record<string, string> {
  const passed = Object.entries(headers).filter(
    (entry): entry is [string, string] => PASSED.test(entry[0]) && typeof entry[1] === "string",
  );
  return Object.fromEntries(passed);
}

/** A backend may go by either (MCP 2026-07-28, Streamable HTTP, request headers). */
export function agreesWithHeaders(
  { headers }: IncomingMessage,
  said: readonly Message[],
  used: UsedByMessages,
): boolean {
  const { "mcp-method": method, "mcp-name": name } = headers;
  if (method === undefined && name === undefined) return true;
  const [message, another] = said;
  if (message === undefined || another !== undefined) return said.length === 0;
  // What was judged, where something was: parameters that a method does not have may say something else.
  const named = used[0]?.feature.name ?? message.params?.name ?? message.params?.uri;
  // Other methods may have other names; they go no further, and their client is told why.
  const isNamed = !isOfNoMethod(message);
  return (
    (method === undefined || method === message.method) &&
    (name === undefined || !isNamed || (typeof name === "string" && decodedHeader(name) === named))
  );
}
