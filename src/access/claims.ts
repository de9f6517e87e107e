/** Reads the claims of the identity provider about a user, whose shape is not guaranteed. */

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

/** A text is one value, a list is its texts, and anything else has no value. */
export function strings(value: unknown): string[] {
  const values: unknown[] = Array.isArray(value) ? value : [value];
  return values.filter((each): each is string => typeof each === "string" && each !== "");
}

/**
 * The names that a claim gives somebody: those of {@link strings}, or the keys of an object where the provider documents
 * that they are the names.
 */
export function namesAt(claims: unknown, path: string): string[] {
  const value = claimAt(claims, path);
  return isKeyedByName(path, value) ? Object.keys(value) : strings(value);
}

/**
 * Zitadel's roles: `{"admin":{"ORGANIZATION-ID":"its domain"}}`, in claims of these names. Under any other name, or with
 * anything else in it, an object may mean everything.
 */
function isKeyedByName(path: string, value: unknown): value is Record<string, Record<string, string>> {
  return (
    /^urn:zitadel:iam:org:project:(\d+:)?roles$/.test(path) &&
    isObject(value) &&
    Object.entries(value).every(
      ([name, organizations]) =>
        name !== "" &&
        isObject(organizations) &&
        Object.values(organizations).every((domain) => typeof domain === "string"),
    )
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * The form, in words, of a claim that may contain names but cannot be read; undefined if it can be read or is missing. Reveals
 * nothing of the value.
 */
export function shapeProblem(claims: unknown, path: string): string | undefined {
  const value = claimAt(claims, path);
  if (isObject(value))
    return isKeyedByName(path, value) ? undefined : "it is an object, which gives no names";
  if (Array.isArray(value) && value.some((each) => typeof each !== "string"))
    return "it is a list with other things than texts in it, which give no names";
  if (typeof value !== "string") return undefined;
  if (/^\s*[[{]/.test(value))
    return "it is a list or an object written as one text, which counts as one name";
  return /^[^\s,]+(,\s*[^\s,]+)+$/.test(value)
    ? "it is one text with commas in it, which counts as one name"
    : undefined;
}

/** What is known of a user by a claim. */
export interface Answer {
  /** Values that are certain. */
  readonly names: readonly string[];
  /** The claim that leaves open whether there are others; undefined if there are none. */
  readonly unknown?: string;
}

/** Of groups. Entra says `hasgroups` in place of a list that is too long for a token. */
export function groupsAnswer(claims: unknown, path: string): Answer {
  const hasMore = ![undefined, null, false].some((none) => none === claimAt(claims, "hasgroups"));
  const value = claimAt(claims, path);
  return answer(claims, path, (isListOfNames(value) || isKeyedByName(path, value)) && !hasMore);
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
  const names = namesAt(claims, path);
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

/** Several names in one text cannot be separated for certain. */
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
