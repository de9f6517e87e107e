/** The schema of a policy file, and the messages about mistakes in it. */
import { z } from "zod";
import { clientPattern, emailPattern, type Pattern, uriPattern, wildcard } from "./pattern.ts";
import { DEFAULT_CLAIMS } from "./policy.ts";

/** What there is to allow or deny on this server. A rule about anything else is a mistake. */
export interface KnownNames {
  readonly scopes: readonly string[];
  readonly tools: readonly string[];
  readonly resources: readonly string[];
  readonly prompts: readonly string[];
}

export type PolicyFile = z.output<ReturnType<typeof policySchema>>;

/** Messages continue a sentence that begins with where they are: "for.groups …". */
export function policySchema(known: KnownNames) {
  const effect = z.union([
    z.literal("everything"),
    someOf('write "everything"', {
      scopes: names("scope", known.scopes),
      tools: names("tool", known.tools),
      resources: names("resource", known.resources),
      prompts: names("prompt", known.prompts),
    }),
  ]);
  const conditions = someOf("leave it out to mean everybody", {
    users: patterns(wildcard),
    emails: patterns(emailPattern),
    groups: patterns(wildcard),
    organizations: patterns(wildcard),
    clients: patterns(clientPattern, "https://claude.ai/*, https://*.example.com/* or an id"),
    redirect_uris: patterns(
      uriPattern,
      "https://claude.ai/api/*, https://*.example.com/* or http://localhost/*",
    ),
  });
  const rule = closed({
    name: RuleTitle,
    for: conditions.optional(),
    allow: effect.optional(),
    deny: effect.optional(),
  });
  const claim = z.string().min(1);
  return closed({
    default: z.enum(["allow", "deny"]).default("allow"),
    claims: closed({
      groups: claim.default(DEFAULT_CLAIMS.groups),
      organization: claim.default(DEFAULT_CLAIMS.organization),
    }).prefault({}),
    rules: z.array(rule).default([]),
  });
}

/** It is shown in logs and answers. */
const RuleTitle = z
  .string({
    error: ({ input }) =>
      input === undefined ? "is missing: say in a few words what the rule is for" : undefined,
  })
  .max(200, "is longer than 200 characters")
  .regex(/^(?=.*\S)[^\p{Cc}\p{Zl}\p{Zp}]+$/u, "must be words on one line")
  .refine(
    (name) => name !== "default",
    'cannot be "default", which means that no rule spoke: use another name',
  );

function closed<Shape extends z.ZodRawShape>(shape: Shape) {
  const keys = Object.keys(shape).join(", ");
  return z.strictObject(shape, {
    error: ({ code }) => (code === "unrecognized_keys" ? `what is known here: ${keys}` : undefined),
  });
}

function someOf<Shape extends z.ZodRawShape>(otherwise: string, shape: Shape) {
  const keys = Object.keys(shape).join(", ");
  return closed(shape).refine(
    (value) => Object.keys(value).length > 0,
    `is empty: name at least one of ${keys}, or ${otherwise}`,
  );
}

function patterns(parse: (text: string) => Pattern | undefined, form = "") {
  return list(
    (text) => parse(text) ?? `has "${text}", which is no pattern that a URI can match: write it like ${form}`,
  );
}

/** Names and wildcards of which each stands for something that exists. */
function names(kind: string, known: readonly string[]) {
  const all = known.length === 0 ? "there is none" : `known are ${known.join(", ")}`;
  return list((text) => {
    const pattern = wildcard(text);
    if (known.some(pattern.matches)) return pattern;
    return text.includes("*")
      ? `has "${text}", which matches no ${kind}: ${all}`
      : `has an unknown ${kind} "${text}": ${all}`;
  });
}

/** `parse` gives a pattern, or what is wrong with the text. */
function list(parse: (text: string) => Pattern | string) {
  const entry = z
    .string()
    .min(1)
    .transform((text, context) => {
      const parsed = parse(text);
      if (typeof parsed !== "string") return parsed;
      context.addIssue({ code: "custom", message: parsed });
      return z.NEVER;
    });
  return z.array(entry).min(1).optional();
}

/** The messages where the schema above has none of its own. */
export function plainWords(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code === "invalid_type") return `must be ${KINDS[issue.expected] ?? issue.expected}`;
  if (issue.code === "invalid_value") return `must be one of ${issue.values.join(", ")}`;
  if (issue.code === "too_small") return "is empty: fill it or leave it out";
  return undefined;
}

const KINDS: Record<string, string> = {
  string: "text: put it in quotes",
  array: 'a list: [a, b], or lines that begin with "- "',
  object: "keys with values",
};
