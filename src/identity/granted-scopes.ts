/** The scopes that a user has, by the configured sources (`ScopeSources`). Pure. */

import { claimAt, namesAt, strings } from "../access/claims.ts";
import { union } from "../oauth/scope.ts";
import type { ScopeClaim, ScopeSources, TokenSource } from "./scope-sources.ts";

type Claims = Readonly<Record<string, unknown>>;

/** What came with a token response. */
interface Evidence {
  /** `scope` of the token response; absent means "as requested" (RFC 6749 §5.1). */
  responseScope: string | undefined;
  /** Claims of the access token, if it is a JWT. */
  accessClaims: Claims | undefined;
}

interface SignInEvidence extends Evidence {
  /** Everything that the provider says of the user. */
  claims: Claims;
  /** Scopes of our tools that the client asked for. */
  wanted: readonly string[];
  /** What the provider was asked for. */
  asked: readonly string[];
}

interface RenewalEvidence extends Evidence {
  /** As far as it was learned anew; undefined if it was not. */
  claims: Claims | undefined;
  /** The claims that are in there if the user has them. */
  renewable: readonly string[];
}

/**
 * The union of what the sources name. Where none of them names anything, silence means what was asked for: but only
 * that of the token response does, and never where a claim decides, because a user without roles has no such claim.
 */
export function scopesAtSignIn(sources: ScopeSources, evidence: SignInEvidence): string[] {
  if (sources.kind === "consent") return [...evidence.wanted];
  const named = namedScopes(sources.tokens, evidence);
  if (sources.claim !== undefined) return union(...named, claimedScopes(evidence.claims, sources.claim));
  if (named.length === 0 && sources.tokens.includes("response")) return [...evidence.asked];
  return union(...named);
}

/**
 * The scopes that the user still has, or undefined if the provider did not say. A claim that decides and that came in
 * the ID token only is unknown too: those of a refresh are not read. One that came elsewhere and is missing is lost:
 * some providers leave a role claim out instead of sending an empty one.
 */
export function scopesAtRenewal(sources: ScopeSources, evidence: RenewalEvidence): string[] | undefined {
  if (sources.kind === "consent") return undefined;
  const named = namedScopes(sources.tokens, evidence);
  if (sources.claim !== undefined) {
    const { path } = sources.claim;
    const value = evidence.claims && claimAt(evidence.claims, path);
    const isRenewable = [path, path.split(".")[0]].some((name) => evidence.renewable.includes(name ?? ""));
    const isLost = value === undefined && evidence.claims !== undefined && isRenewable;
    if (value === undefined && !isLost) return undefined;
    return union(...named, claimedScopes(evidence.claims ?? {}, sources.claim));
  }
  const silenceMeansNothing = sources.tokens.includes("response") || evidence.accessClaims === undefined;
  if (named.length === 0 && silenceMeansNothing) return undefined;
  return union(...named);
}

/** One list for each source that names anything at all. */
function namedScopes(tokens: readonly TokenSource[], { responseScope, accessClaims }: Evidence): string[][] {
  return tokens
    .map((source) => (source === "response" ? responseScope : accessClaims?.[source]))
    .filter((value) => value !== undefined && value !== null)
    .map(spaceDelimited);
}

function claimedScopes(claims: Claims, { path, map }: ScopeClaim): string[] {
  const value = claimAt(claims, path);
  if (map === undefined && typeof value === "string") return spaceDelimited(value);
  const names = namesAt(claims, path);
  // A text is one value, because the name of a role may contain spaces.
  return map === undefined ? names : names.flatMap((each) => map.get(each) ?? []);
}

/** Providers send a space-delimited string or an array; anything else grants nothing. */
function spaceDelimited(value: unknown): string[] {
  return typeof value === "string" ? value.split(" ").filter((scope) => scope !== "") : strings(value);
}
