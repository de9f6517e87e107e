/**
 * How users are named in stored records and in keys. Release 0.1.0 knew one identity provider and wrote a bare `sub`, which
 * its replicas still read; so that stays the form for the first provider's users, with the issuer beside it, which they drop.
 * Another provider's user is an object, which they refuse to read: they cannot take one person for another.
 */
import { z } from "zod";
import { type Issuing, issuersOf } from "../oauth/tenant-issuer.ts";
import { UserId } from "./principal.ts";

const Subject = z.union([z.string(), UserId]);

/** What a record says of a user. */
export interface StoredUser {
  subject: z.infer<typeof Subject>;
  /** Of a `subject` that is a text. */
  issuer?: string | undefined;
}

export interface StoredUsers {
  /** The fields of a record of a user's. */
  readonly fields: { readonly subject: typeof Subject; readonly issuer: z.ZodOptional<z.ZodString> };
  read(stored: StoredUser): UserId;
  write(user: UserId): StoredUser;
  /** A `sub` or `sid` of an issuer as a name that no other issuer's has; of the first provider, itself. */
  unique(issuer: string, id: string): string;
}

/** @param providers that are configured; users of the first are stored by their `sub`, unless it has many tenants */
export function storedUsers(providers: readonly [Issuing, ...Issuing[]]): StoredUsers {
  const issuers = new Set(providers.flatMap(issuersOf));
  const [{ issuer: first }, ...others] = providers;
  // Of several nobody knows whose former name it is, and one person must not become another.
  const isFormerName = (issuer: string) => others.length === 0 && !issuers.has(issuer);
  return {
    fields: { subject: Subject, issuer: z.string().optional() },
    read({ subject, issuer }) {
      if (typeof subject !== "string") return subject;
      // Another one may have been the first when it was written. An issuer that is not configured is a former name of the only one.
      return { issuer: issuer === undefined || isFormerName(issuer) ? first : issuer, subject };
    },
    write: ({ issuer, subject }) =>
      issuer === first ? { subject, issuer } : { subject: { issuer, subject } },
    // No subject has a line break in it, see identity/oidc/subject.ts.
    unique: (issuer, id) => (issuer === first ? id : `${issuer}\n${id}`),
  };
}
