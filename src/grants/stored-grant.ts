/**
 * The stored forms of a grant. Version 1 is that of release 0.1.0, whose replicas may run beside this one: what it can express
 * is still written in it, and only what it cannot in version 2, which they treat as absent. Both are read.
 */
import { z } from "zod";
import type { StoredUsers } from "../access/stored-users.ts";
import { UpstreamTokens } from "../identity/identity-provider.ts";
import type { RecordFormat } from "../storage/encrypted.ts";
import { Grant, grantFields } from "./grant.ts";
import { TokenHash } from "./opaque-token.ts";

/** What a user of the first identity provider allowed a client, by signing in. */
const GrantVersion1 = z.object({
  ...grantFields,
  version: z.literal(1),
  clientId: z.string(),
  clientName: z.string().optional(),
  subject: z.string(),
  /** Replicas of 0.1.0 drop it when they write the grant. */
  issuer: z.string().optional(),
  claims: z.record(z.string(), z.unknown()),
  code: z.object({
    hash: TokenHash,
    redirectUri: z.string(),
    codeChallenge: z.string(),
    expiresAt: z.number(),
    redeemed: z.boolean(),
  }),
  upstream: UpstreamTokens,
});
type GrantVersion1 = z.infer<typeof GrantVersion1>;

export function grantFormat(users: StoredUsers): RecordFormat<Grant> {
  const version1 = GrantVersion1.transform((stored) => migrated(stored, users));
  return {
    schema: z.discriminatedUnion("version", [version1, Grant]),
    write: (grant) => asVersion1(grant, users) ?? grant,
  };
}

function migrated(stored: GrantVersion1, users: StoredUsers): Grant {
  const { version: _, clientId, clientName, subject, issuer, claims, code, ...rest } = stored;
  const { redirectUri, ...codeState } = code;
  return {
    ...rest,
    version: 2,
    principal: { kind: "user", ...users.read({ subject, issuer }), claims },
    client: { id: clientId, ...(clientName !== undefined && { name: clientName }), redirectUri },
    origin: { kind: "authorization_code", code: codeState },
  };
}

/** Undefined for what version 1 cannot express. */
function asVersion1(grant: Grant, users: StoredUsers): GrantVersion1 | undefined {
  const { version: _, principal, client, origin, upstream, ...rest } = grant;
  if (principal.kind !== "user" || origin.kind !== "authorization_code") return undefined;
  const { subject, issuer } = users.write(principal);
  const { id: clientId, name: clientName, redirectUri } = client;
  if (typeof subject !== "string" || redirectUri === undefined || upstream === undefined) return undefined;
  return {
    ...rest,
    version: 1,
    clientId,
    ...(clientName !== undefined && { clientName }),
    subject,
    issuer,
    claims: principal.claims,
    code: { ...origin.code, redirectUri },
    upstream,
  };
}
