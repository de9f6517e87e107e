/** Who acts, and through which client. Never a bare `sub`: two issuers may give the same one to different people. */
import { z } from "zod";

/** A user of an identity provider, whose `issuer` is the configured one: `sub` is unique there and nowhere else. */
export const UserId = z.object({ issuer: z.string(), subject: z.string() });
export type UserId = z.infer<typeof UserId>;

export function isSameUser(one: UserId, other: UserId): boolean {
  return one.issuer === other.issuer && one.subject === other.subject;
}

const claims = z.record(z.string(), z.unknown());

/** A person who signed in. */
const User = UserId.extend({ kind: z.literal("user"), claims });
export type User = z.infer<typeof User>;

export const Principal = z.discriminatedUnion("kind", [
  User,
  /** A client that acts for itself (RFC 6749 §4.4): of this server, or of the issuer that says so. */
  z.object({
    kind: z.literal("client"),
    /** Of another issuer: see {@link clientOf}. */
    clientId: z.string(),
    issuer: z.string().optional(),
    claims: claims.optional(),
  }),
  /** A program, of which an issuer that this server believes says who it is. */
  UserId.extend({ kind: z.literal("workload"), claims }),
]);
export type Principal = z.infer<typeof Principal>;
export const PRINCIPAL_KINDS = ["user", "client", "workload"] as const satisfies ReadonlyArray<
  Principal["kind"]
>;

export const ClientRef = z.object({
  id: z.string(),
  /** What it called itself when the principal allowed it something. */
  name: z.string().optional(),
  /** Where it receives its codes, if it does: distinguishes clients that registered themselves. */
  redirectUri: z.string().optional(),
});
export type ClientRef = z.infer<typeof ClientRef>;

/**
 * A client of another issuer, under a name that no client of this server has, and none of a third issuer: no `client_id` here, and
 * no issuer, has a fragment.
 * @param id undefined: the issuer does not say which one it is
 */
export function clientOf(issuer: string, id: string | undefined): ClientRef {
  return { id: `${issuer}#${id ?? ""}` };
}

/** Whether it is known which client it is. */
export function isKnown({ id }: Pick<ClientRef, "id">): boolean {
  return !/^[^#]+#$/.test(id);
}

/** Whoever wants access, in the sense of XACML's access requester: a principal, through a client. */
export interface Requester {
  readonly principal: Principal;
  readonly client: ClientRef;
}

/** Whether that is who acts. */
export function isUser(principal: Principal, user: UserId): boolean {
  return principal.kind === "user" && isSameUser(principal, user);
}

/** As logs, tools and introspection name a principal. RFC 9068 §2.2: a client that acts for itself is its own subject. */
export function subjectOf(principal: Principal): string {
  return principal.kind === "client" ? principal.clientId : principal.subject;
}

/** Who it is, in the log and the audit log: a subject alone may be another one's of another issuer. */
export interface PrincipalFields {
  subject: string;
  principalKind: Principal["kind"];
  issuer?: string;
}

export function principalFields(principal: Principal): PrincipalFields {
  const { kind: principalKind, issuer } = principal;
  return { subject: subjectOf(principal), principalKind, ...(issuer !== undefined && { issuer }) };
}

const NOTHING_SAID: Readonly<Record<string, unknown>> = Object.freeze({});

/** What an issuer says of a principal. Nobody says anything of a client of this server's that acts for itself. */
export function claimsOf(principal: Principal): Readonly<Record<string, unknown>> {
  return principal.claims ?? NOTHING_SAID;
}
