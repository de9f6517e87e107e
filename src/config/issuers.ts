/** `issuers` in CONFIG_FILE: whose tokens and assertions are believed beside the identity provider's, and for what. */
import { z } from "zod";
import { type Pattern, wildcard } from "../access/pattern.ts";
import type { TrustedIssuer, WorkloadIssuer, WorkloadRule } from "../issuers/trusted-issuer.ts";
import { ASYMMETRIC_ALGORITHMS } from "../oauth/jwt.ts";
import { isLoopbackHost } from "../oauth/redirect-uri.ts";
import { type Mistake, mistakesIn } from "../yaml/mistakes.ts";
import type { Path } from "../yaml/yaml-text.ts";
import { entriesOf, isMap, listed, unknownKeys } from "./file-keys.ts";
import { issuerProblem } from "./origin-problem.ts";

/** The paths of the resources that this version serves. */
const RESOURCES = ["/mcp"];
const TYPES = ["at+jwt", "jwt"];

type Problem = [problem: string, remedy: string];

/** A text of which something can be wrong. */
function textThat(problemWith: (value: string) => Problem | undefined) {
  return z
    .string()
    .min(1)
    .superRefine((value, context) => {
      const found = problemWith(value);
      if (found === undefined) return;
      const [problem, message] = found;
      context.addIssue({ code: "custom", message, params: { problem } });
    });
}

const text = z.string().min(1);
const texts = z.array(text).min(1);

const Url = textThat((value) =>
  isSecure(value)
    ? undefined
    : ["must be an https URL", "write it in full; http is accepted on this computer only"],
);
const ResourcePaths = z
  .array(
    textThat((path) =>
      RESOURCES.includes(path)
        ? undefined
        : ["is not the path of a resource that this version has", `write ${RESOURCES.join(" or ")}`],
    ),
  )
  .min(1);

const common = {
  issuer: textThat((value) => (/\s/.test(value) ? ["has a space in it", "remove it"] : issuerProblem(value))),
  jwksUri: Url.exactOptional(),
  algorithms: z
    .array(
      textThat((algorithm) =>
        ASYMMETRIC_ALGORITHMS.includes(algorithm)
          ? undefined
          : [
              "is no algorithm that signs with a private key",
              `write one of ${ASYMMETRIC_ALGORITHMS.join(", ")}`,
            ],
      ),
    )
    .min(1)
    .default([...ASYMMETRIC_ALGORITHMS]),
  timeoutSeconds: z
    .number()
    .refine((seconds) => Number.isInteger(seconds) && seconds >= 1 && seconds <= 60, {
      error: "write digits alone, such as 10",
      params: { problem: "must be a whole number from 1 to 60" },
    })
    .default(10),
};

const Introspection = z.object({
  endpoint: Url.exactOptional(),
  clientId: text,
  clientSecret: text,
});
const AccessTokens = z.object({
  ...common,
  accept: z.literal("access-token"),
  resources: ResourcePaths.exactOptional(),
  audience: text.exactOptional(),
  types: z
    .array(
      textThat((type) =>
        TYPES.includes(normalizedType(type))
          ? undefined
          : ["is not the typ of an access token", "write at+jwt or JWT"],
      ).transform(normalizedType),
    )
    .min(1)
    .default(["at+jwt"]),
  scopeClaims: texts.default(["scope", "scp", "permissions"]),
  scopes: filled(z.record(z.string(), texts)).transform((map) => new Map(Object.entries(map))),
  introspection: Introspection.exactOptional(),
});

const IdentityAssertions = z.object({
  ...common,
  accept: z.literal("id-jag"),
  subject: z.enum(["sub", "email"]).default("sub"),
  publicClients: z.boolean().default(false),
});

const Permitted = z.object({ scopes: texts, resources: ResourcePaths.exactOptional() });
const Rule = z.object({
  ...Permitted.shape,
  claims: filled(z.record(z.string(), z.union([text, texts], "write a text, or a list of texts, in quotes"))),
});
const Workloads = z
  .object({
    ...common,
    accept: z.literal("workload"),
    audience: text.exactOptional(),
    subjects: filled(z.record(z.string(), Permitted)).default({}),
    rules: z.array(Rule).min(1).default([]),
  })
  .transform(({ subjects, rules, ...rest }): WorkloadIssuer => {
    const named = Object.entries(subjects).map(([sub, permitted]) =>
      workloadRule({ claims: { sub }, ...permitted }),
    );
    return { ...rest, rules: [...named, ...rules.map(workloadRule)] };
  });

const KINDS = {
  "access-token": { schema: AccessTokens, keys: Object.keys(AccessTokens.shape) },
  "id-jag": { schema: IdentityAssertions, keys: Object.keys(IdentityAssertions.shape) },
  workload: { schema: Workloads, keys: Object.keys(Workloads.in.shape) },
};
type Kind = keyof typeof KINDS;
const ACCEPTS = Object.keys(KINDS) as Kind[];

/** The issuers of a file in which nothing is wrong with them. */
export function trustedIssuers(issuers: unknown): TrustedIssuer[] {
  return listed(issuers).map(
    (entry): TrustedIssuer => KINDS[acceptOf(entry) ?? "id-jag"].schema.parse(entry),
  );
}

/** Everything that is wrong with them. */
export function issuerMistakes(content: unknown): Mistake[] {
  if (!isMap(content) || content.issuers === undefined) return [];
  const { issuers } = content;
  const wrongList = mistakesIn(issuers, z.array(z.unknown()).min(1));
  return [
    ...wrongList.map((mistake) => ({ ...mistake, at: ["issuers", ...mistake.at] })),
    ...listed(issuers).flatMap((entry, index) => entryMistakes(entry, ["issuers", index])),
    ...namedTwice(listed(issuers)),
    ...introspectedTwice(listed(issuers)),
  ];
}

function entryMistakes(entry: unknown, at: Path): Mistake[] {
  const accept = acceptOf(entry);
  const schema = accept === undefined ? z.object({ accept: z.enum(ACCEPTS) }) : KINDS[accept].schema;
  const mistakes = mistakesIn(entry, schema).map((mistake) => ({ ...mistake, at: [...at, ...mistake.at] }));
  if (accept === undefined || !isMap(entry)) return mistakes;
  return [
    ...keyMistakes(entry, at, accept),
    ...mistakes,
    ...(accept === "workload" ? ruleMistakes(entry, at) : []),
  ];
}

function keyMistakes(entry: Record<string, unknown>, at: Path, accept: Kind): Mistake[] {
  const { keys: known } = KINDS[accept];
  const ofOther = (key: string) =>
    known.includes(key) ? undefined : ACCEPTS.find((kind) => KINDS[kind].keys.includes(key));
  const misplaced = Object.keys(entry).filter((key) => ofOther(key) !== undefined);
  const inside = (key: string, keys: z.ZodObject) =>
    unknownKeys(entry[key], [...at, key], { known: Object.keys(keys.shape) });
  return [
    ...misplaced.map((key) => ({
      at: [...at, key],
      in: at,
      problem: `has the key "${key}", which is one of accept: ${ofOther(key)}`,
      remedy: "remove it, or make two entries of it",
    })),
    ...unknownKeys(entry, at, { known: [...known, ...misplaced] }),
    ...(accept === "access-token" ? inside("introspection", Introspection) : []),
  ];
}

/** What is not said by the schema about whom the rules of a platform name. */
function ruleMistakes(entry: Record<string, unknown>, at: Path): Mistake[] {
  const { subjects, rules } = entry;
  if (subjects === undefined && rules === undefined)
    return [{ at, problem: "has neither subjects nor rules", remedy: "say which workloads may do what" }];
  const everybody = (path: Path): Mistake => ({
    at: path,
    problem: "names every workload of the issuer",
    remedy: "write more than * for one of its claims",
  });
  return [
    ...entriesOf(subjects).flatMap(([subject, permitted]) => [
      ...unknownKeys(permitted, [...at, "subjects", subject], { known: Object.keys(Permitted.shape) }),
      ...(isAnything(subject) ? [everybody([...at, "subjects", subject])] : []),
    ]),
    ...listed(rules).flatMap((rule, index) => {
      const path = [...at, "rules", index];
      const claims = isMap(rule) ? entriesOf(rule.claims) : [];
      // Left out of what is read, it would not restrict.
      const unread = claims.filter(([name]) => name === "__proto__");
      return [
        ...unknownKeys(rule, path, { known: Object.keys(Rule.shape) }),
        ...unread.map(([name]) => ({
          at: [...path, "claims", name],
          problem: "is no name of a claim",
          remedy: "remove it",
        })),
        ...(claims.length > 0 && claims.every(([, value]) => isAnything(value))
          ? [everybody([...path, "claims"])]
          : []),
      ];
    }),
  ];
}

/** An issuer is believed for one thing by one entry, and never both for people and for programs. */
function namedTwice(issuers: readonly unknown[]): Mistake[] {
  const before: Array<{ issuer: string; accept: Kind }> = [];
  return issuers.flatMap((entry, index): Mistake[] => {
    const accept = acceptOf(entry);
    if (accept === undefined || !isMap(entry) || typeof entry.issuer !== "string") return [];
    const { issuer } = entry;
    const others = before.filter((other) => other.issuer === issuer).map((other) => other.accept);
    before.push({ issuer, accept });
    const at = ["issuers", index, "issuer"];
    if (others.includes(accept))
      return [{ at, problem: `is in two entries with accept: ${accept}`, remedy: "make one of them" }];
    const other = others.find((each) => each !== "access-token");
    if (accept === "access-token" || other === undefined) return [];
    return [
      {
        at,
        problem: `is in an entry with accept: ${other}, too: what it says of programs could pass for people`,
        remedy: "keep one of them",
      },
    ];
  });
}

/** Nothing tells whose an opaque token is. */
function introspectedTwice(issuers: readonly unknown[]): Mistake[] {
  const taken = new Set<unknown>();
  return issuers.flatMap((entry, index): Mistake[] => {
    if (acceptOf(entry) !== "access-token" || !isMap(entry) || entry.introspection === undefined) return [];
    const resources = entry.resources === undefined ? RESOURCES : listed(entry.resources);
    const both = resources.find((path) => taken.has(path));
    for (const path of resources) taken.add(path);
    if (both === undefined) return [];
    return [
      {
        at: ["issuers", index, "introspection"],
        problem: `is a second one for ${both}: an opaque token does not say whose it is`,
        remedy: "keep one of them",
      },
    ];
  });
}

function workloadRule({
  claims,
  ...permitted
}: z.output<typeof Permitted> & { claims: Readonly<Record<string, string | string[]>> }): WorkloadRule {
  const oneOf = (value: string | string[]): Pattern[] => [value].flat().map(wildcard);
  return {
    claims: Object.entries(claims).map(([claim, value]) => ({ claim, oneOf: oneOf(value) })),
    ...permitted,
  };
}

function isAnything(value: unknown): boolean {
  return [value].flat().some((pattern) => typeof pattern === "string" && /^\*+$/.test(pattern));
}

function filled<T extends z.ZodType<Record<string, unknown>>>(map: T) {
  return map.refine((value) => Object.keys(value).length > 0, {
    error: "fill it or leave it out",
    params: { problem: "is empty" },
  });
}

/** Whoever is on the network could answer by http, and would choose the keys. */
function isSecure(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const { protocol, hostname, username } = new URL(value);
  return username === "" && (protocol === "https:" || (protocol === "http:" && isLoopbackHost(hostname)));
}

function normalizedType(type: string): string {
  return type.toLowerCase().replace(/^application\//, "");
}

function acceptOf(entry: unknown): Kind | undefined {
  return isMap(entry) ? ACCEPTS.find((kind) => kind === entry.accept) : undefined;
}
