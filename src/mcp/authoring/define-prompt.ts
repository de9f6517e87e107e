/** How prompts are written: a message that a person picks in their client, with its arguments and scopes. */
import type { GetPromptResult, Prompt as ListedPrompt } from "@modelcontextprotocol/server";
import { z } from "zod";
import {
  type AuthenticationRequirement,
  declaredAuthentication,
  type RequiredAuthentication,
} from "../../oauth/required-authentication.ts";
import { type RequiredScopes, requiredScopes, type ScopeRequirement } from "../../oauth/scope-requirement.ts";
import type { Completers } from "./completion.ts";
import type { InputRequired, Returned } from "./input-required.ts";
import { type RequestContext, ToolError } from "./request-context.ts";

/** What a prompt says of itself. */
export interface PromptDeclaration<Arguments extends z.ZodObject> {
  /** Unique among the prompts: letters, digits, `_` and `-`, at most 64. */
  name: string;
  title?: string;
  description: string;
  /** As for tools: without them the prompt is not listed and getting it is answered with HTTP 403. */
  scopes?: ScopeRequirement;
  /** As for tools. */
  authentication?: AuthenticationRequirement;
  /** Arguments are strings on the wire; `.describe()` what a person should enter. */
  args?: Arguments;
  /** Suggests values for arguments while a person types. */
  complete?: Completers<keyof z.output<Arguments> & string>;
  /** The text of one user message, or a complete MCP result. */
  run(args: z.output<Arguments>, call: RequestContext): Returned<string | GetPromptResult>;
}

/** A declared prompt. */
export interface Prompt {
  readonly kind: "prompt";
  readonly name: string;
  readonly scopes: RequiredScopes;
  readonly authentication?: RequiredAuthentication;
  /** What `prompts/list` shows. */
  readonly listing: ListedPrompt;
  get(args: unknown, call: RequestContext): Promise<GetPromptResult | InputRequired>;
  readonly completers?: Completers;
}

const PROMPT_NAME = /^[A-Za-z0-9_-]{1,64}$/;

/**
 * Declares a prompt.
 * @throws Error for an illegal name or scope: at start-up, not when somebody gets it.
 */
export function definePrompt<Arguments extends z.ZodObject>(prompt: PromptDeclaration<Arguments>): Prompt {
  const { name, title, description } = prompt;
  if (!PROMPT_NAME.test(name))
    throw new Error(`Prompt name "${name}": use 1 to 64 letters, digits, "_" and "-"`);
  const args: z.ZodObject = prompt.args ?? z.object({});
  return {
    kind: "prompt",
    name,
    scopes: requiredScopes(prompt.scopes ?? [], `Prompt "${name}"`),
    ...declaredAuthentication(prompt, `Prompt "${name}"`),
    listing: {
      name,
      description,
      arguments: Object.entries(args.shape).map(describeArgument),
      ...(title !== undefined && { title }),
    },
    ...(prompt.complete && { completers: prompt.complete }),
    async get(given, call) {
      const parsed = await args.safeParseAsync(given ?? {});
      if (!parsed.success)
        throw new ToolError(`Invalid arguments for ${name}: ${z.prettifyError(parsed.error)}`);
      const result = await prompt.run(parsed.data as z.output<Arguments>, call);
      return typeof result === "string"
        ? { description, messages: [{ role: "user", content: { type: "text", text: result } }] }
        : result;
    },
  };
}

function describeArgument([name, schema]: [string, z.core.$ZodType]) {
  const { description } = z.globalRegistry.get(schema) ?? {};
  return {
    name,
    required: !z.safeParse(schema, undefined).success,
    ...(description !== undefined && { description }),
  };
}
