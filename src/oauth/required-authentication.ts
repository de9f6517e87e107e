/**
 * How lately and how strongly a user has to have signed in (RFC 9470): what a tool asks for, what a challenge and an
 * authorization request carry, and what a sign-in is measured by. Pure.
 */
import { z } from "zod";
import { isScopeToken } from "./scope.ts";

/** As a tool declares it: at least one of the two. */
export interface AuthenticationRequirement {
  /** How long ago, at most, the user signed in at the identity provider: 60 or more. */
  maxAgeSeconds?: number;
  /** How they signed in, as the identity provider names it in `acr`: any one of these is enough. */
  acr?: string | readonly string[];
}

/** As it is checked and sent: `max_age`, and `acr_values` in order of preference (OpenID Connect Core §3.1.2.1). */
export const RequiredAuthentication = z.object({
  maxAge: z.number().optional(),
  acrValues: z.array(z.string()).readonly().optional(),
});
export type RequiredAuthentication = z.infer<typeof RequiredAuthentication>;

/** What is known of an authentication, by the claims of the same names (OpenID Connect Core §2, RFC 9068 §2.2.1). */
export interface UserAuthentication {
  /** When the user last signed in at their identity provider, in seconds since the epoch, by its clock. */
  readonly authTime?: number;
  /** How they signed in. */
  readonly acr?: string;
}

// What a client needs to redeem its code and call again must not use up the whole of it: it would be challenged for ever.
const SHORTEST_MAX_AGE = 60;

/** @throws Error naming the `owner` and what is wrong */
export function requiredAuthentication(
  { maxAgeSeconds, acr }: AuthenticationRequirement,
  owner: string,
): RequiredAuthentication {
  if (maxAgeSeconds === undefined && acr === undefined)
    throw new Error(`${owner}: say maxAgeSeconds, acr or both.`);
  if (maxAgeSeconds !== undefined && !(Number.isInteger(maxAgeSeconds) && maxAgeSeconds >= SHORTEST_MAX_AGE))
    throw new Error(`${owner}: maxAgeSeconds is a whole number, ${SHORTEST_MAX_AGE} or more.`);
  const acrValues = acr === undefined ? undefined : [acr].flat();
  if (acrValues?.length === 0 || acrValues?.some((each) => !isScopeToken(each)))
    throw new Error(`${owner}: acr is one or several values without spaces, quotes and backslashes.`);
  return {
    ...(maxAgeSeconds !== undefined && { maxAge: maxAgeSeconds }),
    ...(acrValues !== undefined && { acrValues }),
  };
}

/** What a feature declares of it, if it does. @throws Error as {@link requiredAuthentication} */
export function declaredAuthentication(
  { authentication }: { authentication?: AuthenticationRequirement },
  owner: string,
): { authentication?: RequiredAuthentication } {
  return authentication === undefined
    ? {}
    : { authentication: requiredAuthentication(authentication, owner) };
}

/**
 * As another server says it in an error, by the names of RFC 9470 §3; undefined if it says nothing that can be asked for. An age is
 * raised to what a tool could declare: whoever signed in within it and is refused again is not asked again.
 */
export function requiredByError({
  max_age,
  acr_values,
}: Readonly<Record<string, unknown>>): RequiredAuthentication | undefined {
  const age = typeof max_age === "number" || typeof max_age === "string" ? Number(max_age) : Number.NaN;
  const maxAge = Number.isInteger(age) && age >= 0 ? Math.max(age, SHORTEST_MAX_AGE) : undefined;
  const values = typeof acr_values === "string" ? acr_values.split(" ").filter(isScopeToken) : [];
  if (maxAge === undefined && values.length === 0) return undefined;
  return { ...(maxAge !== undefined && { maxAge }), ...(values.length > 0 && { acrValues: values }) };
}

/** What meets each of these. With several lists of `acr_values`, the first counts. */
export function strictest(required: readonly RequiredAuthentication[]): RequiredAuthentication {
  const ages = required.flatMap(({ maxAge }) => maxAge ?? []);
  const acrValues = required.find((each) => each.acrValues !== undefined)?.acrValues;
  return {
    ...(ages.length > 0 && { maxAge: Math.min(...ages) }),
    ...(acrValues !== undefined && { acrValues }),
  };
}

/** How far another issuer's clock may be from ours. */
const CLOCK_TOLERANCE_SECONDS = 30;

/**
 * Why an authentication is not enough; undefined if it is. What is not known of it is not enough.
 * @param at when it had to be young enough: at a call that is now, at a sign-in when it was asked for
 */
export function shortfallOf(
  { authTime, acr }: UserAuthentication,
  { maxAge, acrValues }: RequiredAuthentication,
  { now, at = now }: { now: number; at?: number },
): "too_old" | "too_weak" | undefined {
  if (maxAge !== undefined) {
    // One in the future, such as milliseconds, would be young for ever.
    const isKnown = authTime !== undefined && authTime <= now + CLOCK_TOLERANCE_SECONDS;
    if (!isKnown || authTime + maxAge < at - CLOCK_TOLERANCE_SECONDS) return "too_old";
  }
  if (acrValues !== undefined && (acr === undefined || !acrValues.includes(acr))) return "too_weak";
  return undefined;
}

const MAX_ACR_LENGTH = 512;

/** What claims say of it. What is not of the right type is not known. */
export function userAuthentication(claims: Readonly<Record<string, unknown>>): UserAuthentication {
  const { auth_time: authTime, acr } = claims;
  const isTime = typeof authTime === "number" && Number.isFinite(authTime) && authTime >= 0;
  const isAcr = typeof acr === "string" && acr !== "" && acr.length <= MAX_ACR_LENGTH;
  return { ...(isTime && { authTime }), ...(isAcr && { acr }) };
}

/** The same of what is kept with other things. */
export function authenticationIn({
  authTime,
  acr,
}: {
  authTime?: number | undefined;
  acr?: string | undefined;
}) {
  return { ...(authTime !== undefined && { authTime }), ...(acr !== undefined && { acr }) };
}

/** The parameters by which it is asked for, in a challenge and at an authorization endpoint. */
export function asParameters({ maxAge, acrValues }: RequiredAuthentication): {
  max_age?: string;
  acr_values?: string;
} {
  return {
    ...(maxAge !== undefined && { max_age: String(maxAge) }),
    ...(acrValues !== undefined && { acr_values: acrValues.join(" ") }),
  };
}
