/** What a backend is told of a caller, however it is told: in a signed identity, or in headers of its own. */
import { emailAnswer, groupsAnswer } from "../access/claims.ts";
import { DEFAULT_CLAIMS } from "../access/policy.ts";
import { claimsOf, type Principal } from "../access/principal.ts";
import type { Caller } from "./caller.ts";

/** Of the groups as JSON. Servers refuse requests with more than 8 or 16 KB of headers. */
const MAX_GROUPS_BYTES = 4_096;
const MAX_EMAIL_BYTES = 320; // RFC 3696, errata 1690: 64 + 1 + 255

type Claims = Readonly<Record<string, unknown>>;

/** What a backend is told of a caller. What is not known for certain is left out. */
export interface IdentityClaims {
  /** Unique here, as RFC 7519 §4.1.2 has it: two issuers may give the same `sub` to different people. */
  readonly sub: string;
  /** Of a person or workload: who names them, and how (RFC 9493 §3.2.4). */
  readonly sub_id?: { readonly format: "iss_sub"; readonly iss: string; readonly sub: string };
  readonly principal: Principal["kind"];
  readonly client_id: string;
  readonly resource: string;
  readonly scope: string;
  /** Only an address that the issuer vouches for. */
  readonly email?: string;
  readonly email_verified?: true;
  /** All of them: a part would pass for the whole. */
  readonly groups?: readonly string[];
}

export function identityClaims({ principal, client, resource, scopes }: Caller): IdentityClaims {
  return {
    ...subjectClaims(principal),
    principal: principal.kind,
    client_id: client.id,
    resource,
    scope: scopes.join(" "),
    ...(principal.kind === "user" && personalClaims(claimsOf(principal))),
  };
}

function subjectClaims(principal: Principal): Pick<IdentityClaims, "sub" | "sub_id"> {
  // The id of another issuer's client begins with that issuer already.
  if (principal.kind === "client") return { sub: principal.clientId };
  const { issuer: iss, subject: sub } = principal;
  return { sub: uniqueSubject(iss, sub), sub_id: { format: "iss_sub", iss, sub } };
}

/** As {@link clientOf} does it: no issuer has a fragment, so the first `#` ends it, and no `client_id` here has one. */
function uniqueSubject(issuer: string, subject: string): string {
  return `${issuer}#${subject}`;
}

function personalClaims(claims: Claims): Pick<IdentityClaims, "email" | "email_verified" | "groups"> {
  const [email] = emailAnswer(claims).names;
  const groups = groupsAnswer(claims, DEFAULT_CLAIMS.groups);
  const areKnown = groups.unknown === undefined && JSON.stringify(groups.names).length <= MAX_GROUPS_BYTES;
  return {
    ...(email !== undefined && email.length <= MAX_EMAIL_BYTES && { email, email_verified: true }),
    ...(areKnown && { groups: groups.names }),
  };
}
