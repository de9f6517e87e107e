/** Reading what the identity provider said about a user, of whose shape nothing is certain. */

/**
 * The claim of this exact name or, if there is none, what lies at the dotted path: `realm_access.roles`. At every
 * step a name with dots in it comes before a path through it, so that `resource_access.my.client.roles` is found.
 * @returns undefined if there is no such claim
 */
export function claimAt(claims: unknown, path: string): unknown {
  if (typeof claims !== "object" || claims === null || Array.isArray(claims)) return undefined;
  if (Object.hasOwn(claims, path)) return (claims as Record<string, unknown>)[path];
  for (let dot = path.indexOf("."); dot !== -1; dot = path.indexOf(".", dot + 1)) {
    const name = path.slice(0, dot);
    if (!Object.hasOwn(claims, name)) continue;
    const found = claimAt((claims as Record<string, unknown>)[name], path.slice(dot + 1));
    if (found !== undefined) return found;
  }
  return undefined;
}

/** A text is one, a list is its texts, and anything else says nothing. */
export function strings(value: unknown): string[] {
  const values: unknown[] = Array.isArray(value) ? value : [value];
  return values.filter((each): each is string => typeof each === "string" && each !== "");
}

/** What a claim lets one know of somebody. */
export interface Answer {
  /** Said for certain. */
  readonly names: readonly string[];
  /** The claim that leaves open whether there are others; undefined if there are none. */
  readonly unknown?: string;
}

/** Of groups. Entra says `hasgroups` in place of a list that is too long for a token. */
export function groupsAnswer(claims: unknown, path: string): Answer {
  const hasMore = ![undefined, null, false].some((none) => none === claimAt(claims, "hasgroups"));
  return answer(claims, path, isListOfNames(claimAt(claims, path)) && !hasMore);
}

/** Of the organization: one name, of any letters, or a list of several. */
export function organizationAnswer(claims: unknown, path: string): Answer {
  const value = claimAt(claims, path);
  return answer(claims, path, typeof value === "string" ? value !== "" : isListOfNames(value));
}

/**
 * Of the e-mail address, as far as the provider vouches for it: whoever can write any address into a profile must
 * neither gain by that nor get around a rule. Cognito writes the boolean as text.
 */
export function emailAnswer(claims: unknown): Answer {
  const email = claimAt(claims, "email");
  if (typeof email !== "string") return { names: [], unknown: "email" };
  const verified = claimAt(claims, "email_verified");
  if (verified !== true && verified !== "true") return { names: [], unknown: "email_verified" };
  return answer(claims, "email", isPlainAddress(email));
}

function answer(claims: unknown, path: string, isWhole: boolean): Answer {
  const names = strings(claimAt(claims, path));
  return isWhole && !isElsewhere(claims, path) ? { names } : { names, unknown: path };
}

/**
 * What is not said at all is not "none": a provider that was asked for nothing says nothing, too. ADFS and others write
 * a list of one as text.
 */
function isListOfNames(value: unknown): boolean {
  return Array.isArray(value)
    ? value.every((each) => typeof each === "string" && each !== "")
    : isOneName(value);
}

/** Several in one text cannot be told apart for certain. */
function isOneName(value: unknown): boolean {
  return typeof value === "string" && /^[^\s,;|"'<>[\]{}\p{Cc}]+$/u.test(value);
}

/** One address that can be read in one way only: no list, no name beside it, and no domain that turns into another. */
function isPlainAddress(email: string): boolean {
  return /^[^@\s,;<>"]+@[a-z0-9-]+(\.[a-z0-9-]+)*$/i.test(email);
}

/** Aggregated and distributed claims (OpenID Connect Core §5.6.2): Entra's, of somebody in more than 200 groups. */
function isElsewhere(claims: unknown, path: string): boolean {
  const elsewhere = claimAt(claims, "_claim_names") ?? {};
  if (typeof elsewhere !== "object" || Array.isArray(elsewhere)) return true;
  return Object.keys(elsewhere).some((name) => path === name || path.startsWith(`${name}.`));
}
