/** The people who may sign in at the embedded identity provider: the listed ones, and anybody else. */

export interface DemoUser {
  /** Becomes the `sub` claim, and is what one types to sign in. */
  subject: string;
  name: string;
  email: string;
  /** The API scopes that this user may have. */
  permissions: readonly string[];
  /** Further claims of the ID token and of userinfo. */
  claims?: Record<string, unknown>;
}

export interface Directory {
  listed: readonly DemoUser[];
  /** An unlisted name is a user of that name with the permissions of the first listed one. */
  find(subject: string): DemoUser;
}

export function createDirectory(listed: readonly DemoUser[]): Directory {
  return {
    listed,
    find: (subject) => listed.find((user) => user.subject === subject) ?? stranger(subject, listed[0]),
  };
}

function stranger(subject: string, model: DemoUser | undefined): DemoUser {
  return {
    subject,
    name: subject,
    email: subject.includes("@") ? subject : `${subject.replaceAll(/\W+/g, ".")}@example.com`,
    permissions: model?.permissions ?? [],
  };
}

/** Everything the ID token and userinfo may tell about a user. */
export function claimsOf(user: DemoUser): { sub: string; [claim: string]: unknown } {
  return { ...user.claims, sub: user.subject, name: user.name, email: user.email, email_verified: true };
}
