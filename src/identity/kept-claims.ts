/**
 * Which of the claims are kept with a session: all, where they are of a usual size. A provider may send hundreds of
 * kilobytes, and every session would hold them in Redis and in memory. Pure.
 */

type Claims = Readonly<Record<string, unknown>>;

/** Of the claims as JSON. */
export const MAX_CLAIMS_BYTES = 32_768;
// Nothing that a rule or a tool reads is nested like that; what writes and freezes claims recurses.
const MAX_DEPTH = 32;

/** Who it is, in which login session. */
const IDENTITY = ["sub", "sid"];
/** Claims that say that another claim is incomplete: without them a part would pass for the whole. */
const MARKS = ["_claim_names", "hasgroups"];
/** OpenID Connect Core §5.1. */
const PROFILE = [
  ...["name", "preferred_username", "email", "email_verified", "given_name", "family_name", "middle_name"],
  ...["nickname", "profile", "picture", "website", "gender", "birthdate", "zoneinfo", "locale"],
  ...["phone_number", "phone_number_verified", "address", "updated_at"],
];

/**
 * At most {@link MAX_CLAIMS_BYTES} of them: first what decides, then the profile, then the smallest others. Of a claim
 * that decides and is too large, only the part that is asked for; if that is too large as well, it is left out, which
 * means unknown (access/claims.ts), never "none".
 * @param deciding names or dotted paths that policy, membership and scopes ask for
 */
export function keptClaims(
  claims: Claims,
  deciding: readonly string[],
): { claims: Record<string, unknown>; dropped: string[] } {
  const names = Object.keys(claims);
  const sizes = new Map(names.map((name) => [name, sizeOf(name, claims[name])]));
  const sizeAt = (name: string) => sizes.get(name) ?? 0;
  if (names.reduce((sum, name) => sum + sizeAt(name), 0) <= MAX_CLAIMS_BYTES)
    return { claims: { ...claims }, dropped: [] };

  const kept = new Map<string, unknown>();
  let room = MAX_CLAIMS_BYTES;
  function keep(name: string, value: unknown, size = sizeOf(name, value)): boolean {
    if (size > room) return false;
    kept.set(name, value);
    room -= size;
    return true;
  }

  // A mark that is too large is kept as `true`: the claims that it concerns stay unknown.
  for (const name of MARKS.filter((mark) => sizes.has(mark)))
    keep(name, sizeAt(name) <= MAX_CLAIMS_BYTES / 8 ? claims[name] : true);
  const parts = partsOf(claims, deciding);
  const first = [...IDENTITY, ...parts.keys(), ...PROFILE].filter((name) => sizes.has(name));
  const others = names.toSorted((one, another) => sizeAt(one) - sizeAt(another));
  for (const name of new Set([...first, ...others])) {
    if (kept.has(name) || keep(name, claims[name], sizeAt(name))) continue;
    const part = parts.get(name);
    if (part !== undefined) keep(name, part);
  }
  return {
    claims: Object.fromEntries(kept),
    dropped: names.filter((name) => kept.get(name) !== claims[name]),
  };
}

/** By its first name, what each claim has at the paths. */
function partsOf(claims: Claims, paths: readonly string[]): Map<string, unknown> {
  const parts = new Map<string, unknown>();
  for (const path of paths)
    for (const [name, part] of Object.entries(only(claims, path) ?? {}))
      parts.set(name, merged(parts.get(name), part));
  return parts;
}

/** The claims with nothing in them but what `claimAt` finds at the path; undefined if it finds nothing. */
function only(claims: unknown, path: string): Record<string, unknown> | undefined {
  if (!isObject(claims)) return undefined;
  if (Object.hasOwn(claims, path)) return { [path]: claims[path] };
  for (let dot = path.indexOf("."); dot !== -1; dot = path.indexOf(".", dot + 1)) {
    const name = path.slice(0, dot);
    if (!Object.hasOwn(claims, name)) continue;
    const part = only(claims[name], path.slice(dot + 1));
    if (part !== undefined) return { [name]: part };
  }
  return undefined;
}

function merged(one: unknown, another: unknown): unknown {
  if (!isObject(one) || !isObject(another)) return another;
  const entries = Object.entries(another).map(([name, value]) => [name, merged(own(one, name), value)]);
  return { ...one, ...Object.fromEntries(entries) };
}

function own(object: Claims, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** In bytes of JSON, with what is around it. */
function sizeOf(name: string, value: unknown): number {
  return isDeeperThan(MAX_DEPTH, value)
    ? Number.POSITIVE_INFINITY
    : Buffer.byteLength(JSON.stringify({ [name]: value }));
}

function isDeeperThan(depth: number, value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return depth === 0 || Object.values(value).some((each) => isDeeperThan(depth - 1, each));
}

function isObject(value: unknown): value is Claims {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
