/** What a backend offers, by name: nobody knows it beforehand, so what each needs follows from names and patterns. */
import type { Pattern } from "../../access/pattern.ts";
import type { RequiredScopes } from "../../oauth/scope-requirement.ts";
import type { Message, UsedFeature } from "../authoring/features.ts";
import type { BackendNeeds, BackendSettings, NeededScopes } from "./backend-settings.ts";
import { prefixed, unprefixed } from "./merged-names.ts";

/** What a message wants to use, or that one of it is given to nobody. */
export type Addressed = "unnamed" | readonly UsedFeature[];

export interface BackendFeatures {
  feature(kind: UsedFeature["kind"], name: unknown): UsedFeature | undefined;
  addressedBy(message: Message): Addressed;
}

/** The methods that use a feature, and where the message names it. */
const USES: ReadonlyMap<unknown, { kind: UsedFeature["kind"]; by: "name" | "uri" }> = new Map([
  ["tools/call", { kind: "tool", by: "name" }],
  ["prompts/get", { kind: "prompt", by: "name" }],
  ["resources/read", { kind: "resource", by: "uri" }],
  ["resources/subscribe", { kind: "resource", by: "uri" }],
  ["resources/unsubscribe", { kind: "resource", by: "uri" }],
]);

/** @param settings of which `reach.kind` says whether there are several servers */
export function backendFeatures({
  reach,
  needs: { tools, resources, prompts },
}: {
  reach: Pick<BackendSettings["reach"], "kind">;
  needs: BackendNeeds;
}): BackendFeatures {
  const findsIn = reach.kind === "merged" ? entriesOfServers : entriesIn;
  const entries = {
    tool: findsIn(tools, "name"),
    resource: findsIn(resources, "uri"),
    prompt: findsIn(prompts, "name"),
  };
  const feature: BackendFeatures["feature"] = (kind, name) => {
    const found = typeof name === "string" ? entries[kind](name) : undefined;
    if (found === undefined) return undefined;
    const { spellings, ...used } = found;
    return { kind, name: name as string, ...used, ...(spellings && { isAlike: isOneOf(spellings) }) };
  };
  return {
    feature,
    addressedBy(message) {
      const named = namedIn(message);
      const found = named.map(({ kind, name }) => feature(kind, name));
      return found.includes(undefined) ? "unnamed" : found.filter((each) => each !== undefined);
    },
  };
}

/** What a message names, as far as it is of a kind that can be used: everything else is of no name. */
function namedIn({ method, params }: Message): Array<{ kind: UsedFeature["kind"]; name: unknown }> {
  if (method === "completion/complete") {
    const { type, name, uri } = (params?.ref ?? {}) as { type?: unknown; name?: unknown; uri?: unknown };
    if (type === "ref/prompt") return [{ kind: "prompt", name }];
    return [{ kind: "resource", name: type === "ref/resource" ? uri : undefined }];
  }
  if (method === "subscriptions/listen") {
    const { resourceSubscriptions: uris = [] } = (params?.notifications ?? {}) as Record<string, unknown>;
    return (Array.isArray(uris) ? uris : [undefined]).map((name) => ({ kind: "resource", name }));
  }
  const use = USES.get(method);
  return use === undefined ? [] : [{ kind: use.kind, name: params?.[use.by] }];
}

interface Found extends Pick<UsedFeature, "scopes"> {
  readonly entry: string;
  /** As a backend may read it. Absent: it is named by itself, and every other spelling is refused. */
  readonly spellings?: readonly string[];
}
type FindEntry = (name: string) => Found | undefined;

/** A policy is asked about the same patterns again and again. */
const foldedPatterns = new WeakMap<Pattern, string>();

function isOneOf(spellings: readonly string[]): NonNullable<UsedFeature["isAlike"]> {
  return (pattern) => {
    const folded = foldedPatterns.get(pattern) ?? foldLetters(pattern.text);
    foldedPatterns.set(pattern, folded);
    return spellings.some((each) => matches(folded, each));
  };
}

/** A server gets a name without its own before it: it is judged as that server reads it (`http://h:80/` is `http://h/`). */
function entriesOfServers(needed: NeededScopes, kind: "name" | "uri"): FindEntry {
  const byServer = new Map<string, Map<string, RequiredScopes>>();
  for (const [entry, scopes] of needed) {
    const its = unprefixed(kind, entry);
    if (its === undefined) continue;
    byServer.set(its.server, (byServer.get(its.server) ?? new Map()).set(its.value, scopes));
  }
  const found = new Map([...byServer].map(([server, its]) => [server, entriesIn(its, kind)]));
  return (name) => {
    const its = unprefixed(kind, name);
    const judged = its && found.get(its.server)?.(its.value);
    if (its === undefined || judged === undefined) return undefined;
    const { entry, scopes, spellings } = judged;
    const here = (value: string) => prefixed(kind, its.server, value);
    return { entry: here(entry), scopes, ...(spellings && { spellings: spellings.map(here) }) };
  };
}

/** What finds the entry for a name. What does not depend on the name is made once: every entry of a list is looked up. */
function entriesIn(needed: NeededScopes, kind: "name" | "uri"): FindEntry {
  const mayMatch = kind === "uri" ? isPlainUri : () => true;
  const folded = new Set([...needed.keys()].map(fold));
  const longestFirst = [...needed]
    .filter(([entry]) => entry.includes("*"))
    .sort(([one], [another]) => another.length - one.length)
    .map(([entry, scopes]) => ({ entry, scopes, foldedPattern: foldLetters(entry) }));
  return (name) => {
    const named = needed.get(name);
    if (named !== undefined) return { entry: name, scopes: named };
    // A pattern must not open what a name of its own closes, to a backend that takes the two for one …
    const alike = fold(name);
    if (UNSEEN.test(name) || folded.has(alike) || !mayMatch(name)) return undefined;
    const letters = foldLetters(name);
    for (const { entry, scopes, foldedPattern } of longestFirst) {
      if (matches(entry, name)) return { entry, scopes, spellings: [letters, alike] };
      // … nor what a pattern closes that goes before.
      if (matches(foldedPattern, letters) || matches(foldedPattern, alike)) return undefined;
    }
    return undefined;
  };
}

/** What some leave out, or end a text at: control characters, those that only format, and halves of a character. */
export const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}]/u;

/** Alike to a backend that decodes, and takes no notice of case, of spaces around a name, of a query, or of a slash at the end. */
function fold(name: string): string {
  const [bare = ""] = foldLetters(name).split(/[?#]/, 1);
  let end = bare.length;
  while (bare[end - 1] === "/") end--;
  return bare.slice(0, end);
}

function foldLetters(name: string): string {
  return decoded(name).normalize("NFKC").trim().toLowerCase();
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // a percent sign that encodes nothing
  }
}

/**
 * Whether a backend can read a URI in one way only (RFC 3986 §6.2.2): no dot segments, no empty ones, and nothing encoded
 * that could stand there as it is. Capital letters do not matter here: what is alike but for case was compared before.
 */
function isPlainUri(uri: string): boolean {
  const scheme = /^[a-z][a-z0-9+.-]*:/.exec(uri)?.[0];
  if (scheme === undefined || /[\\#]/.test(uri) || !isAsBrowsersHaveIt(uri)) return false;
  const rest = uri.slice(scheme.length);
  const [, ...segments] = rest.startsWith("//") ? rest.slice(2).split(/[/?]/) : ["", ...rest.split(/[/?]/)];
  const [first, ...others] = segments.slice(0, -1);
  if ((first === "" && rest.startsWith("//")) || others.includes("")) return false;
  // With parameters behind them, too (RFC 3986 §3.3), and in wide letters.
  if (segments.some((each) => /^\.\.?(;|$)/.test(decoded(each).normalize("NFKC")))) return false;
  // Of ASCII these alone have to be encoded.
  return !/%(?![89a-fA-F][0-9a-fA-F]|20|22|3[CcEe]|5[Ee]|60|7[BbCcDd])/.test(uri);
}

/**
 * Many backends, those on the SDK for TypeScript among them, parse a URI as browsers do (WHATWG URL), and look for what that makes of
 * it: `file:/a` and `file://localhost/a` become `file:///a`. What is encoded has to be UTF-8.
 */
function isAsBrowsersHaveIt(uri: string): boolean {
  // The expressions of a template.
  const filled = uri.replace(/\{[^{}]*\}/g, "x");
  try {
    decodeURIComponent(filled);
    return new URL(filled).href === filled.replace(/[^\0-\x7f]+/g, encodeURIComponent);
  } catch {
    return false;
  }
}

/** Linear, whatever the pattern is: the name is the client's. */
function matches(pattern: string, name: string): boolean {
  const [first = "", ...rest] = pattern.split("*");
  const last = rest.pop() ?? "";
  if (!name.startsWith(first)) return false;
  let at = first.length;
  for (const part of rest) {
    const found = name.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return name.length - last.length >= at && name.endsWith(last);
}
