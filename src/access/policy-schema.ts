/** The schema of a policy file, and the messages about mistakes in it. */
import { z } from "zod";
import { clientPattern, emailPattern, type Pattern, uriPattern, wildcard } from "./pattern.ts";
import { DEFAULT_CLAIMS } from "./policy.ts";
import { PRINCIPAL_KINDS } from "./principal.ts";

/** What there is to allow or deny on this server. A rule about anything else is a mistake. */
export interface KnownNames {
  readonly scopes: readonly string[];
  readonly tools: readonly string[];
  readonly resources: readonly string[];
  readonly prompts: readonly string[];
  /** The paths of protected resources. Default: none. */
  readonly protectedResources?: readonly string[];
  /** Issuers that have users here. With several, a `sub` alone names nobody. Default: one, whichever it is. */
  readonly userIssuers?: readonly string[];
}

export type PolicyFile = z.output<ReturnType<typeof policySchema>>;

/** Messages are remedies, see {@link ../yaml/mistakes.ts mistakesIn}. */
export function policySchema(known: KnownNames) {
  const effect = z.union(
    [
      z.literal("everything"),
      someOf('write "everything"', {
        scopes: names("scope", known.scopes),
        tools: names("tool", known.tools),
        resources: names("resource", known.resources),
        prompts: names("prompt", known.prompts),
      }),
    ],
    'write "everything", or keys with values such as { tools: [a, b] }',
  );
  const conditions = someOf("leave it out to mean everybody", {
    kind: kinds,
    issuers: patterns(wildcard),
    users: patterns(wildcard),
    emails: patterns(emailPattern),
    groups: patterns(wildcard),
    organizations: patterns(wildcard),
    clients: patterns(clientPattern, "https://claude.ai/*, https://*.example.com/* or an id"),
    redirect_uris: patterns(
      uriPattern,
      "https://claude.ai/api/*, https://*.example.com/* or http://localhost/*",
    ),
    protected_resources: names("protected resource", known.protectedResources ?? []),
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

const Kind = z.enum(PRINCIPAL_KINDS);
const kinds = z
  .union([Kind, z.array(Kind).min(1)], `write ${PRINCIPAL_KINDS.join(", ")}, or a list of them`)
  .transform((written) => [written].flat().map(wildcard))
  .optional();

/** It is shown in logs and answers. */
const RuleTitle = z
  .string({
    error: ({ input }) => (input === undefined ? "say in a few words what the rule is for" : undefined),
  })
  .refine((name) => name.length <= 200, {
    error: "shorten it",
    params: { problem: "is longer than 200 characters" },
  })
  .refine((name) => /^(?=.*\S)[^\p{Cc}\p{Zl}\p{Zp}]+$/u.test(name), {
    error: "say in a few words what the rule is for",
    params: { problem: "must be words on one line" },
  })
  .refine((name) => name !== "default", {
    error: "use another name",
    params: { problem: 'cannot be "default", which means that no rule spoke' },
  });

function closed<Shape extends z.ZodRawShape>(shape: Shape) {
  const keys = Object.keys(shape).join(", ");
  return z.strictObject(shape, {
    error: ({ code }) => (code === "unrecognized_keys" ? `use what is known here: ${keys}` : undefined),
  });
}

function someOf<Shape extends z.ZodRawShape>(otherwise: string, shape: Shape) {
  const keys = Object.keys(shape).join(", ");
  return closed(shape).refine((value) => Object.keys(value).length > 0, {
    error: `name at least one of ${keys}, or ${otherwise}`,
    params: { problem: "is empty" },
  });
}

function patterns(parse: (text: string) => Pattern | undefined, form = "") {
  return list(
    (text) =>
      parse(text) ?? {
        problem: `has "${text}", which is no pattern that a URI can match`,
        remedy: `write it like ${form}`,
      },
  );
}

/** Names and wildcards of which each stands for something that exists. */
function names(kind: string, known: readonly string[]) {
  const remedy =
    known.length === 0 ? `remove it: there is no ${kind}` : `use what is known here: ${known.join(", ")}`;
  return list((text) => {
    const pattern = wildcard(text);
    if (known.some(pattern.matches)) return pattern;
    return text.includes("*")
      ? { problem: `has "${text}", which matches no ${kind}`, remedy }
      : { problem: `has an unknown ${kind} "${text}"`, remedy };
  });
}

/** `parse` gives a pattern, or what is wrong with the text. */
function list(parse: (text: string) => Pattern | { problem: string; remedy: string }) {
  const entry = z
    .string()
    .min(1)
    .transform((text, context) => {
      const parsed = parse(text);
      if (!("remedy" in parsed)) return parsed;
      const { problem, remedy } = parsed;
      context.addIssue({ code: "custom", message: remedy, params: { problem } });
      return z.NEVER;
    });
  return z.array(entry).min(1).optional();
}
