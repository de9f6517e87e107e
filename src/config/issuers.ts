/** `issuers` in CONFIG_FILE: whose tokens and assertions are believed beside the identity provider's, and for what. */
import { z } from "zod";
import { type Pattern, wildcard } from "../access/pattern.ts";
import type { ClaimRule } from "../issuers/claim-rule.ts";
import {
  type IntrospectionSettings,
  type TrustedIssuer,
  UNTYPED,
  type WorkloadIssuer,
  type WorkloadRule,
} from "../issuers/trusted-issuer.ts";
import { ASYMMETRIC_ALGORITHMS } from "../oauth/jwt.ts";
import { isLoopbackHost } from "../oauth/redirect-uri.ts";
import { type Mistake, mistakesIn } from "../yaml/mistakes.ts";
import type { Path } from "../yaml/yaml-text.ts";
import { checkClient, clientElsewhere, clientKeys } from "./client-elsewhere.ts";
import { entriesOf, isMap, listed, unknownKeys } from "./file-keys.ts";
import { textThat, timeoutSeconds } from "./file-values.ts";
import { isHostName, issuerProblem } from "./origin-problem.ts";

const TYPES = ["at+jwt", "jwt", UNTYPED];

const text = z.string().min(1);
const texts = z.array(text).min(1);

const Url = textThat((value) =>
  isSecure(value)
    ? undefined
    : ["must be an https URL", "write it in full; http is accepted on this computer only"],
);
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
  timeoutSeconds,
};

const ClaimRules = filled(
  z.record(z.string(), z.union([text, texts], "write a text, or a list of texts, in quotes")),
);
const IntrospectionKeys = z.object({ endpoint: Url.exactOptional(), ...clientKeys });
const Introspection = IntrospectionKeys.superRefine(checkClient).transform(
  ({ endpoint, ...keys }): IntrospectionSettings => ({
    ...(endpoint !== undefined && { endpoint }),
    // What RFC 7662 shows, and every server takes.
    client: clientElsewhere(keys, "client_secret_basic"),
  }),
);
/** Of an issuer that speaks of people. */
const vouchedEmailDomains = z
  .array(
    textThat((domain) =>
      isHostName(domain)
        ? undefined
        : ["is no host name", "write the part of the addresses after the @, without wildcards"],
    ).transform((domain) => domain.toLowerCase()),
  )
  .min(1)
  .exactOptional();
const AccessTokens = z.object({
  ...common,
  vouchedEmailDomains,
  accept: z.literal("access-token"),
  resources: texts.exactOptional(),
  audience: text.exactOptional(),
  types: z
    .array(
      textThat((type) =>
        TYPES.includes(normalizedType(type))
          ? undefined
          : ["is not the typ of an access token", "write at+jwt or JWT, or none for tokens without one"],
      ).transform(normalizedType),
    )
    .min(1)
    .default(["at+jwt"]),
  scopeClaims: texts.default(["scope", "scp", "permissions"]),
  scopes: filled(z.record(z.string(), texts)).transform((map) => new Map(Object.entries(map))),
  clientClaims: ClaimRules.transform(claimRules).exactOptional(),
  introspection: Introspection.exactOptional(),
});

const IdentityAssertions = z.object({
  ...common,
  vouchedEmailDomains,
  accept: z.literal("id-jag"),
  subject: z.enum(["sub", "email"]).default("sub"),
  publicClients: z.boolean().default(false),
  logoutAudience: text.exactOptional(),
});

const Permitted = z.object({ scopes: texts, resources: texts.exactOptional() });
const Rule = z.object({
  ...Permitted.shape,
  claims: ClaimRules,
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

/**
 * Everything that is wrong with them.
 * @param paths those of the resources
 */
export function issuerMistakes(content: unknown, paths: readonly string[]): Mistake[] {
  if (!isMap(content) || content.issuers === undefined) return [];
  const { issuers } = content;
  const wrongList = mistakesIn(issuers, z.array(z.unknown()).min(1));
  return [
    ...wrongList.map((mistake) => ({ ...mistake, at: ["issuers", ...mistake.at] })),
    ...listed(issuers).flatMap((entry, index) => entryMistakes(entry, ["issuers", index], paths)),
    ...namedTwice(listed(issuers)),
    ...introspectedTwice(listed(issuers), paths),
  ];
}

function entryMistakes(entry: unknown, at: Path, paths: readonly string[]): Mistake[] {
  const accept = acceptOf(entry);
  const schema = accept === undefined ? z.object({ accept: z.enum(ACCEPTS) }) : KINDS[accept].schema;
  const mistakes = mistakesIn(entry, schema).map((mistake) => ({ ...mistake, at: [...at, ...mistake.at] }));
  if (accept === undefined || !isMap(entry)) return mistakes;
  return [
    ...keyMistakes(entry, at, accept),
    ...mistakes,
    ...(accept === "access-token" ? notServed(entry, at, paths) : []),
    ...(accept === "workload" ? ruleMistakes(entry, at, paths) : []),
    ...unreadClaims(entry.clientClaims, [...at, "clientClaims"]),
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
    ...(accept === "access-token" ? inside("introspection", IntrospectionKeys) : []),
  ];
}

/** What is not said by the schema about whom the rules of a platform name. */
function ruleMistakes(entry: Record<string, unknown>, at: Path, paths: readonly string[]): Mistake[] {
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
      ...notServed(permitted, [...at, "subjects", subject], paths),
      ...(isAnything(subject) ? [everybody([...at, "subjects", subject])] : []),
    ]),
    ...listed(rules).flatMap((rule, index) => {
      const path = [...at, "rules", index];
      const claims = isMap(rule) ? entriesOf(rule.claims) : [];
      return [
        ...unknownKeys(rule, path, { known: Object.keys(Rule.shape) }),
        ...notServed(rule, path, paths),
        ...(isMap(rule) ? unreadClaims(rule.claims, [...path, "claims"]) : []),
        ...(claims.length > 0 && claims.every(([, value]) => isAnything(value))
          ? [everybody([...path, "claims"])]
          : []),
      ];
    }),
  ];
}

/** In whatever may name resources. */
function notServed(named: unknown, at: Path, paths: readonly string[]): Mistake[] {
  if (!isMap(named)) return [];
  return listed(named.resources).flatMap((path, index) =>
    typeof path !== "string" || paths.includes(path)
      ? []
      : [
          {
            at: [...at, "resources", index],
            problem: "is not the path of a resource of this server",
            remedy: `write ${paths.join(" or ")}`,
          },
        ],
  );
}

/** Left out of what is read, it would not restrict. */
function unreadClaims(claims: unknown, at: Path): Mistake[] {
  return entriesOf(claims)
    .filter(([name]) => name === "__proto__")
    .map(([name]) => ({ at: [...at, name], problem: "is no name of a claim", remedy: "remove it" }));
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
function introspectedTwice(issuers: readonly unknown[], paths: readonly string[]): Mistake[] {
  const taken = new Set<unknown>();
  return issuers.flatMap((entry, index): Mistake[] => {
    if (acceptOf(entry) !== "access-token" || !isMap(entry) || entry.introspection === undefined) return [];
    const resources = entry.resources === undefined ? paths : listed(entry.resources);
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
  return { claims: claimRules(claims), ...permitted };
}

function claimRules(claims: Readonly<Record<string, string | string[]>>): ClaimRule[] {
  const oneOf = (value: string | string[]): Pattern[] => [value].flat().map(wildcard);
  return Object.entries(claims).map(([claim, value]) => ({ claim, oneOf: oneOf(value) }));
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
