/** Where a user's scopes come from, as an operator says it: SCOPES_FROM, SCOPE_CLAIM, SCOPE_CLAIM_MAP. */
import { z } from "zod";
import { parseJson } from "../oauth/json.ts";
import { isScopeToken } from "../oauth/scope.ts";
import { InvalidValue } from "../runtime/setting-problem.ts";

/**
 * What a provider may name scopes in: `scope` of the token response, or a claim of a JWT access token. `scope` is
 * RFC 9068's; `scp` is Entra's and Okta's; `permissions` is Auth0's (RBAC).
 */
export const TOKEN_SOURCES = ["response", "scope", "scp", "permissions"] as const;
export type TokenSource = (typeof TOKEN_SOURCES)[number];

/** A claim that stands for scopes, such as the user's roles. */
export interface ScopeClaim {
  /** Its exact name, or a dotted path to it. */
  path: string;
  /** Which scopes a value gives; absent: the values are scopes. A Map, so that no value finds what every object has. */
  map?: ReadonlyMap<string, readonly string[]>;
}

export type ScopeSources =
  /** The provider knows none of our scopes: what the user consents to, and the policy allows, is granted. */
  | { kind: "consent" }
  /** The union of what these name. */
  | { kind: "provider"; tokens: readonly TokenSource[]; claim?: ScopeClaim };

const ClaimMap = z.record(z.string(), z.array(z.string().refine(isScopeToken)));

/**
 * Parses the setting SCOPE_CLAIM_MAP: a JSON object.
 * @throws InvalidValue
 */
export function parseScopeClaimMap(text: string): Map<string, string[]> {
  const parsed = ClaimMap.safeParse(parseJson(text));
  if (parsed.success) return new Map(Object.entries(parsed.data));
  const [value] = parsed.error.issues[0]?.path ?? [];
  if (value === undefined) throw notAnObject();
  throw new InvalidValue(
    `gives "${String(value)}" something that is no list of scopes`,
    `write {"${String(value)}":["weather:read"]}`,
  );
}

function notAnObject(): InvalidValue {
  return new InvalidValue("must be a JSON object", 'write it like {"forecaster":["weather:read"]}');
}
