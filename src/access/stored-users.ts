/**
 * How users are named in stored records and in keys. Release 0.1.0 knew one identity provider and wrote a bare `sub`, which
 * its replicas still read; so that stays the form for the first provider's users. Another provider's user is an object, which
 * they refuse to read: they cannot take one person for another.
 */
import { z } from "zod";
import { UserId } from "./principal.ts";

export type StoredUser = string | UserId;

export interface StoredUsers {
  /** Reads both forms. */
  readonly schema: z.ZodType<UserId>;
  read(stored: StoredUser): UserId;
  write(user: UserId): StoredUser;
  /** A `sub` or `sid` of an issuer as a name that no other issuer's has; of the first provider, itself. */
  unique(issuer: string, id: string): string;
}

/** @param firstIssuer of the provider whose users are stored by their `sub` alone */
export function storedUsers(firstIssuer: string): StoredUsers {
  const read = (stored: StoredUser): UserId =>
    typeof stored === "string" ? { issuer: firstIssuer, subject: stored } : stored;
  return {
    schema: z.union([z.string(), UserId]).transform(read),
    read,
    write: ({ issuer, subject }) => (issuer === firstIssuer ? subject : { issuer, subject }),
    // No subject has a line break in it, see identity/oidc/subject.ts.
    unique: (issuer, id) => (issuer === firstIssuer ? id : `${issuer}\n${id}`),
  };
}
