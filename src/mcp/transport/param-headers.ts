/**
 * `Mcp-Param-…`: arguments of a tool that clients of 2026-07-28 repeat in headers, for proxies to route or judge by (MCP,
 * Streamable HTTP, custom headers). What a proxy judged must be what the tool is given.
 */
import type { IncomingHttpHeaders } from "node:http";
import { decodedHeader } from "../../http/encoded-header.ts";
import type { Tool } from "../authoring/define-tool.ts";

/** An argument that is repeated. */
export interface ParamHeader {
  /** As Node has it: in lower case. */
  readonly name: string;
  /** Where the argument is among the arguments. */
  readonly path: readonly string[];
}

/** The mark of such an argument in a tool's input schema; its value is the header's name behind the prefix. */
const MARK = "x-mcp-header";
const PREFIX = "mcp-param-";
const REPEATABLE = new Set<unknown>(["string", "integer", "boolean"]);
const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/; // RFC 9110 §5.6.2

interface Schema {
  type?: unknown;
  properties?: Record<string, Schema>;
  [MARK]?: unknown;
}

/**
 * Those of all tools, by the tools' names.
 * @throws Error for a mark where MCP allows none: proxies would go by what no client sends
 */
export function paramHeaders(tools: readonly Tool[]): ReadonlyMap<string, readonly ParamHeader[]> {
  return new Map(tools.map(({ name, listing }) => [name, marked(name, listing.inputSchema as Schema)]));
}

function marked(tool: string, schema: Schema): ParamHeader[] {
  let marks = 0;
  JSON.stringify(schema, (key, value) => {
    if (key === MARK) marks++;
    return value;
  });
  const found = marks === 0 ? [] : [...among(schema, [])];
  const isSound =
    found.length === marks &&
    found.every(
      ({ type, header }) => REPEATABLE.has(type) && typeof header === "string" && TOKEN.test(header),
    );
  const headers = found.map(({ header, path }) => ({ name: PREFIX + String(header).toLowerCase(), path }));
  if (isSound && new Set(headers.map(({ name }) => name)).size === marks) return headers;
  throw new Error(
    `Tool "${tool}": ${MARK} names a header, each once, for arguments that are text, whole numbers or booleans; not inside of lists or alternatives.`,
  );
}

function* among(
  { properties = {} }: Schema,
  path: readonly string[],
): Generator<{ path: readonly string[]; type: unknown; header: unknown }> {
  for (const [name, schema] of Object.entries(properties)) {
    const here = [...path, name];
    if (MARK in schema) yield { path: here, type: schema.type, header: schema[MARK] };
    yield* among(schema, here);
  }
}

/** What does not agree, in words; undefined if all does. */
export function disagreement(
  declared: readonly ParamHeader[],
  args: unknown,
  headers: IncomingHttpHeaders,
): string | undefined {
  const wrong = declared.find(({ name, path }) => {
    const value = path.reduce(member, args);
    // A client that sends no argument sends no header: what a proxy went by would be given to nobody.
    if (value === undefined || value === null) return headers[name] !== undefined;
    return !says(headers[name], value);
  });
  return wrong && `The header ${wrong.name} does not say what the argument ${wrong.path.join(".")} says.`;
}

/** Its own: every object also has a `constructor`. */
function member(inside: unknown, key: string): unknown {
  if (typeof inside !== "object" || inside === null || !Object.hasOwn(inside, key)) return undefined;
  return (inside as Record<string, unknown>)[key];
}

function says(header: string | string[] | undefined, value: unknown): boolean {
  const text = typeof header === "string" ? decodedHeader(header) : undefined;
  if (text === undefined) return false;
  if (typeof value === "number") return /^-?\d+(\.\d+)?$/.test(text) && Number(text) === value;
  return (typeof value === "string" || typeof value === "boolean") && text === String(value);
}
