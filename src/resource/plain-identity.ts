/**
 * Who is calling, in headers of an operator's choice: for a backend that cannot verify a signed identity. Only a backend that nobody
 * else reaches may believe them.
 */
import type { Caller } from "./caller.ts";
import { type IdentityClaims, identityClaims } from "./caller-identity.ts";

/** What can be said of a caller, each in a header of its own. */
export type IdentityPart = "user" | "email" | "groups" | "scopes" | "client";

/** The names of the headers, in lower case. */
export type IdentityHeaders = Readonly<Partial<Record<IdentityPart, string>>>;

/** What is not known for certain has no header: "no groups" is an empty one. */
export type PlainIdentity = (caller: Caller) => Readonly<Record<string, string>>;

export function createPlainIdentity(headers: IdentityHeaders): PlainIdentity {
  // A caller is the same object for as long as its token and the rules that match are the same.
  const written = new WeakMap<Caller, Readonly<Record<string, string>>>();
  return (caller) => {
    const before = written.get(caller);
    if (before !== undefined) return before;
    const parts = Object.entries(partsOf(identityClaims(caller)));
    const found = parts.flatMap(([part, value]) => {
      const header = headers[part as IdentityPart];
      return header === undefined || value === undefined ? [] : [[header, value] as const];
    });
    const now = Object.fromEntries(found);
    written.set(caller, now);
    return now;
  };
}

/** The same as in a signed identity. */
function partsOf(claims: IdentityClaims): Record<IdentityPart, string | undefined> {
  const { sub, email, groups, scope, client_id: client } = claims;
  return {
    user: inHeader(sub),
    email: email && inHeader(email),
    groups: groups?.map(inHeader).join(","),
    scopes: scope.split(" ").map(inHeader).join(" "),
    client: inHeader(client),
  };
}

/**
 * Percent-encoded where it could not stand in a header (RFC 9110 §5.5), or where its reader would take it for something else: a
 * comma for the end of a value, a space at an end for nothing. `%` is encoded as well, so two people never look alike.
 */
function inHeader(value: string): string {
  return value.replace(/[^\x20-\x7e]|[%,"]|^ | $/gu, (character) =>
    [...Buffer.from(character)]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`)
      .join(""),
  );
}
