/** Every secret of a run, and where one of them can be read in what was written down, in whatever form. */

export interface Secrets {
  /** Notes values as secrets of this kind; what is too short to be told from other text is an error. */
  add(kind: string, ...values: ReadonlyArray<string | null | undefined>): void;
  readonly kinds: string[];
  /** One line for every secret that can be read in `text`: its kind and what is around it. */
  foundIn(where: string, text: string): string[];
}

const LEAST = 10;

export function collectSecrets(): Secrets {
  const secrets = new Map<string, string>();
  return {
    add(kind, ...values) {
      for (const value of values) {
        if (value === undefined || value === null || value.length < LEAST)
          throw new Error(`no secret to look for: ${kind} ${value}`);
        secrets.set(value, kind);
      }
    },
    get kinds() {
      return [...new Set(secrets.values())];
    },
    foundIn(where, text) {
      const readable = `${text}\n${decoded(text)}`;
      const found: string[] = [];
      for (const [secret, kind] of secrets)
        for (const form of formsOf(secret)) {
          const at = readable.indexOf(form);
          if (at !== -1)
            found.push(`${kind} in ${where}: …${readable.slice(Math.max(0, at - 80), at + 20)}…`);
        }
      return found;
    },
  };
}

/** As it is, as URLs and JSON write it, in hexadecimal and base64; and what is left if somebody cuts it short. */
function formsOf(secret: string): Set<string> {
  const bytes = Buffer.from(secret);
  return new Set([
    secret,
    encodeURIComponent(secret),
    new URLSearchParams({ x: secret }).toString().slice(2),
    JSON.stringify(secret).slice(1, -1),
    bytes.toString("hex"),
    bytes.toString("base64").replace(/=+$/, ""),
    bytes.toString("base64url"),
    // The beginning of a token of ours is the id of its grant, which is no secret.
    ...(secret.length >= 40 ? [secret.slice(-20)] : []),
  ]);
}

/** What base64 hides, as in `Authorization: Basic`: a secret in the middle of it does not look like itself. */
function decoded(text: string): string {
  return [...text.matchAll(/[A-Za-z0-9+/_-]{16,}/g)]
    .map(([run]) => Buffer.from(run, "base64").toString("latin1"))
    .join("\n");
}
