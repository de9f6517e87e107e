/** How tools are written: one declaration from which the list, the scope check and the metadata follow. */
import type { CallToolResult, Tool as ListedTool } from "@modelcontextprotocol/server";
import { z } from "zod";
import {
  type AuthenticationRequirement,
  declaredAuthentication,
  type RequiredAuthentication,
} from "../../oauth/required-authentication.ts";
import { type RequiredScopes, requiredScopes, type ScopeRequirement } from "../../oauth/scope-requirement.ts";
import { InputRequired, type Returned } from "./input-required.ts";
import { type RequestContext, ToolError } from "./request-context.ts";

/** What every tool says of itself. */
export interface ToolDeclaration<Input extends z.ZodObject> {
  /** Unique among the tools: letters, digits, `_` and `-`, at most 64: what every client accepts. */
  name: string;
  title?: string;
  description: string;
  /**
   * All of these must be granted (of `anyOf(…)` one); without them the tool is not listed and a call is answered with
   * HTTP 403.
   */
  scopes?: ScopeRequirement;
  /**
   * How lately, or how strongly, the user must have signed in at the identity provider (RFC 9470). A call without that is
   * answered with HTTP 401, and the client has the user sign in again; the tool is listed all the same.
   */
  authentication?: AuthenticationRequirement;
  /** Validated before `run`. Without it the tool takes nothing. */
  input?: Input;
  /** Hints for clients, such as `{ readOnlyHint: true }`. */
  annotations?: ListedTool["annotations"];
}

/** A tool that answers with structured content. */
export interface ToolWithOutput<Input extends z.ZodObject, Output extends z.ZodObject>
  extends ToolDeclaration<Input> {
  /** The shape of the answer: validated, sent as structured content and as JSON text. */
  output: Output;
  run(input: z.output<Input>, call: RequestContext): Returned<z.input<Output>>;
}

/** A tool that answers with text, or with whatever MCP has. */
export interface ToolWithoutOutput<Input extends z.ZodObject> extends ToolDeclaration<Input> {
  output?: undefined;
  /** Text, or a complete MCP result. */
  run(input: z.output<Input>, call: RequestContext): Returned<string | CallToolResult>;
}

/** A declared tool, its schemas converted once. */
export interface Tool {
  readonly kind: "tool";
  readonly name: string;
  readonly scopes: RequiredScopes;
  readonly authentication?: RequiredAuthentication;
  /** What `tools/list` shows. */
  readonly listing: ListedTool;
  /** Validates the arguments, runs the tool, and turns what it returns into an MCP result. */
  call(args: unknown, call: RequestContext): Promise<CallToolResult | InputRequired>;
}

const TOOL_NAME = /^[A-Za-z0-9_-]{1,64}$/;

/**
 * Declares a tool.
 * @throws Error for an illegal name or scope: at start-up, not when somebody calls it.
 */
export function defineTool<Input extends z.ZodObject, Output extends z.ZodObject>(
  tool: ToolWithOutput<Input, Output>,
): Tool;
export function defineTool<Input extends z.ZodObject>(tool: ToolWithoutOutput<Input>): Tool;
export function defineTool(
  tool: ToolWithOutput<z.ZodObject, z.ZodObject> | ToolWithoutOutput<z.ZodObject>,
): Tool {
  const { name, title, description, annotations } = tool;
  if (!TOOL_NAME.test(name)) throw new Error(`Tool name "${name}": use 1 to 64 letters, digits, "_" and "-"`);
  const input = tool.input ?? z.object({});

  return {
    kind: "tool",
    name,
    scopes: requiredScopes(tool.scopes ?? [], `Tool "${name}"`),
    ...declaredAuthentication(tool, `Tool "${name}"`),
    listing: {
      name,
      description,
      inputSchema: describeSchema(input, "input", name),
      ...(title !== undefined && { title }),
      ...(annotations !== undefined && { annotations }),
      ...(tool.output && { outputSchema: describeSchema(tool.output, "output", name) }),
    },
    async call(args, call) {
      const parsed = await input.safeParseAsync(args ?? {});
      if (!parsed.success)
        throw new ToolError(`Invalid arguments for ${name}: ${z.prettifyError(parsed.error)}`);
      const returned = await tool.run(parsed.data, call);
      if (returned instanceof InputRequired) return returned;
      if (tool.output === undefined) return asResult(returned as string | CallToolResult);
      const structuredContent = await tool.output.parseAsync(returned);
      return { content: [{ type: "text", text: JSON.stringify(structuredContent) }], structuredContent };
    },
  };
}

function describeSchema(
  schema: z.ZodObject,
  io: "input" | "output",
  tool: string,
): ListedTool["inputSchema"] {
  try {
    return z.toJSONSchema(schema, { io }) as ListedTool["inputSchema"];
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Tool "${tool}": its ${io} has no JSON Schema: ${why}. For dates use z.iso.datetime().`, {
      cause,
    });
  }
}

function asResult(returned: string | CallToolResult): CallToolResult {
  return typeof returned === "string" ? { content: [{ type: "text", text: returned }] } : returned;
}
