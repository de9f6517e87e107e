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
  /** Where the user is a member, as Auth0 knows organizations. */
  organization?: { id: string; name: string };
}

export interface Directory {
  listed: readonly DemoUser[];
  /** An unlisted name is a user of that name with the permissions of the first listed one. */
  find(subject: string): DemoUser;
  /** Changes what is known of a listed user; `subject` stays. */
  change(subject: string, change: Partial<DemoUser>): void;
}

export function createDirectory(users: readonly DemoUser[]): Directory {
  const listed = [...users];
  return {
    listed,
    find: (subject) => listed.find((user) => user.subject === subject) ?? stranger(subject, listed[0]),
    change(subject, change) {
      const index = listed.findIndex((user) => user.subject === subject);
      const user = listed[index];
      if (user === undefined) throw new Error(`${subject} is not listed`);
      listed[index] = { ...user, ...change, subject };
    },
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

/** Everything the ID token and userinfo may tell about a user; `claims` may say otherwise of the e-mail address. */
export function claimsOf(user: DemoUser): { sub: string; [claim: string]: unknown } {
  return { name: user.name, email: user.email, email_verified: true, ...user.claims, sub: user.subject };
}
