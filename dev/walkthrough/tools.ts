/** Steps 8 to 11: using the access token, with MCP in both protocol generations and the tools. */
import { z } from "zod";
import { HANDSHAKE_VERSION, STATELESS_VERSION } from "../client/mcp.ts";
import { readChallenge } from "./challenge.ts";
import type { ResourceMetadata, Walk } from "./discovery.ts";
import { describe, expectStatus } from "./http.ts";
import { type McpClient, readResponse, readResult } from "./mcp.ts";
import { expect, StepFailure, type Trace } from "./trace.ts";

const Initialized = z.object({
  protocolVersion: z.string(),
  serverInfo: z.object({ name: z.string(), version: z.string() }),
  capabilities: z.object({ tools: z.unknown().optional() }),
});

const ToolList = z.object({ tools: z.array(z.object({ name: z.string() })) });

const Discovered = z.object({ supportedVersions: z.array(z.string()), resultType: z.string() });

const ToolResult = z.object({
  content: z.array(z.object({ type: z.string(), text: z.string().optional() })),
  structuredContent: z.record(z.string(), z.unknown()).optional(),
  isError: z.boolean().optional(),
});
type ToolResult = z.infer<typeof ToolResult>;

export async function shakeHands({ trace }: Walk, client: McpClient): Promise<void> {
  const { protocolVersion, serverInfo, capabilities } = shaped(Initialized, await client.initialize());
  expect(protocolVersion === HANDSHAKE_VERSION, {
    expected: `protocolVersion ${HANDSHAKE_VERSION}, as asked`,
    came: protocolVersion,
    hint: "A server that speaks the version it is asked for has to answer with it.",
  });
  trace.learned(`${serverInfo.name} ${serverInfo.version} speaks ${protocolVersion}`);
  trace.learned(capabilities.tools === undefined ? "it offers no tools" : "it offers tools");
}

/** @returns the names of the tools that this user sees */
export async function listTools({ trace }: Walk, client: McpClient): Promise<string[]> {
  const result = readResult(await client.legacy({ method: "tools/list" }));
  const names = shaped(ToolList, result).tools.map(({ name }) => name);
  trace.learned(`tools: ${names.join(", ") || "none"}`);
  return names;
}

export async function discover({ trace }: Walk, client: McpClient, names: readonly string[]): Promise<void> {
  const discovered = shaped(Discovered, readResult(await client.stateless({ method: "server/discover" })));
  expect(discovered.supportedVersions.includes(STATELESS_VERSION), {
    expected: `supportedVersions with ${STATELESS_VERSION}`,
    came: discovered.supportedVersions.join(" ") || "none",
    hint: "The server answers in the new generation without announcing it.",
  });
  trace.learned(
    "no handshake: every request carries protocolVersion, clientInfo and clientCapabilities in _meta",
  );
  trace.learned(`supportedVersions: ${discovered.supportedVersions.join(", ")}`);
  const listed = shaped(ToolList, readResult(await client.stateless({ method: "tools/list" })));
  const same = listed.tools.map(({ name }) => name);
  expect(same.join() === names.join(), {
    expected: `the same tools in both generations: ${names.join(", ")}`,
    came: same.join(", ") || "none",
    hint: "Both generations are to be served from one table of tools.",
  });
  trace.learned(`the same tools: ${same.join(", ") || "none"}`);
}

/** What whoami has to answer, by its fields. */
type KnownAs = Readonly<Record<string, string>>;

export interface Caller {
  knownAs: KnownAs;
  grantedScope: string;
  resourceMetadataUrl: string;
  resource: ResourceMetadata;
}

export async function callTools(
  { trace }: Walk,
  client: McpClient,
  names: readonly string[],
  caller: Caller,
): Promise<void> {
  if (names.includes("whoami")) await whoami(client, caller.knownAs, trace);
  if (names.includes("say_hello")) await call(client.stateless, { name: "say_hello" }, trace);
  if (names.includes("current_weather")) await call(client.stateless, WEATHER, trace);
  else await callForbidden(client, caller, trace);
  const others = names.filter((name) => !["whoami", "say_hello", "current_weather"].includes(name));
  if (others.length > 0)
    trace.learned(`not called, because the walkthrough does not know them: ${others.join(", ")}`);
}

const WEATHER = { name: "current_weather", arguments: { city: "Berlin" } };

/** Also proves that a token works, and for whom. */
export async function whoami(client: McpClient, knownAs: KnownAs, trace: Trace): Promise<void> {
  const { structuredContent } = await call(client.stateless, { name: "whoami" }, trace);
  for (const [field, expected] of Object.entries(knownAs)) {
    const came = structuredContent?.[field];
    expect(came === undefined || came === expected, {
      expected: `to be known by the ${field} ${expected}`,
      came: String(came),
      hint: "The token belongs to somebody else.",
    });
  }
}

/** Either generation's. */
type Ask = McpClient["legacy" | "stateless"];

interface ToolCall {
  name: string;
  arguments?: Readonly<Record<string, unknown>>;
}

async function call(ask: Ask, { name, arguments: args = {} }: ToolCall, trace: Trace): Promise<ToolResult> {
  const answer = await ask({ method: "tools/call", params: { name, arguments: args } });
  const result = shaped(ToolResult, readResult(answer));
  const text = result.content.map((part) => part.text ?? `(${part.type})`).join(" ");
  expect(result.isError !== true, {
    expected: `${name} to succeed`,
    came: text,
    hint: "The tool was reached and reported this itself; what it depends on may be out of reach.",
  });
  if (result.structuredContent === undefined) trace.learned(text);
  for (const [key, value] of Object.entries(result.structuredContent ?? {}))
    trace.learned(`${key}: ${inWords(value)}`);
  return result;
}

function inWords(value: unknown): string {
  if (Array.isArray(value)) return value.join(" ") || "none";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** @returns the structured content */
export async function callStructured<Schema extends z.ZodType>(
  ask: Ask,
  tool: ToolCall,
  schema: Schema,
  trace: Trace,
): Promise<z.infer<Schema>> {
  return shaped(schema, (await call(ask, tool, trace)).structuredContent);
}

/** A tool whose scope was not granted is not listed, and calling it all the same is refused over HTTP (RFC 6750 §3.1). */
async function callForbidden(client: McpClient, caller: Caller, trace: Trace): Promise<void> {
  const { grantedScope, resource, resourceMetadataUrl } = caller;
  const granted = grantedScope.split(" ");
  const withheld = (resource.scopes_supported ?? []).filter((scope) => !granted.includes(scope));
  if (withheld.length === 0) return trace.learned(`there is no ${WEATHER.name} on this server`);
  trace.learned(
    `${WEATHER.name} is not in our list, perhaps for want of ${withheld.join(" ")}: call it all the same`,
  );
  const answer = await client.stateless({ method: "tools/call", params: WEATHER });
  if (answer.status === 200 && readResponse(answer).error !== undefined)
    return trace.learned(`there is no ${WEATHER.name} on this server`);
  expectStatus(
    answer,
    403,
    "A tool whose scope was not granted has to be refused: do not trust this server's scopes.",
  );
  const { error, scope = "", resource_metadata } = readChallenge(answer);
  const hint = "Without it a client cannot ask the user for more.";
  expect(error === "insufficient_scope", {
    expected: "error=insufficient_scope",
    came: describe(answer),
    hint,
  });
  expect(resource_metadata === resourceMetadataUrl, {
    expected: `resource_metadata="${resourceMetadataUrl}"`,
    came: resource_metadata ?? "none",
    hint,
  });
  const missing = withheld.filter((name) => scope.split(" ").includes(name));
  expect(missing.length > 0, {
    expected: `the scope that is missing: ${withheld.join(" ")}`,
    came: scope || "none",
    hint,
  });
  trace.learned(`refused as it must be: ask for "${scope}" and call again`);
}

/** @throws StepFailure naming what is missing */
function shaped<Schema extends z.ZodType>(schema: Schema, result: unknown): z.infer<Schema> {
  const parsed = schema.safeParse(result);
  if (parsed.success) return parsed.data;
  throw new StepFailure({
    expected: "a complete MCP result",
    came: z.prettifyError(parsed.error).replaceAll(/\s*\n\s*/g, " "),
    hint: "The server's answer lacks what its protocol version asks for.",
  });
}
