/**
 * Authenticated encryption under SECRET_KEY (AES-256-GCM). What is sealed for one context cannot be opened in
 * another: a record cannot be moved to another key, a consent form cannot pass as a record.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";

export interface Sealer {
  /** Encrypts and authenticates `text`, bound to `context`. */
  seal(text: string, context: string): string;
  /** True if it was sealed with the first of the keys. */
  isCurrent(sealed: string): boolean;
  /** The text, or undefined if it was not sealed for this context under one of the keys. */
  open(sealed: string, context: string): string | undefined;
}

interface Key {
  id: string;
  key: Buffer;
}

const FORMAT = "1";
const IV_BYTES = 12;
const TAG_BYTES = 16;

/** The first key seals; all of them open, so that keys can be rotated. */
export function createSealer(secretKeys: readonly string[]): Sealer {
  const keys = secretKeys.map(deriveKey);
  const [current] = keys;
  if (current === undefined) throw new Error("createSealer needs at least one secret key");

  return {
    seal(text, context) {
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv("aes-256-gcm", current.key, iv).setAAD(Buffer.from(context));
      const body = Buffer.concat([iv, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]);
      return `${FORMAT}.${current.id}.${body.toString("base64url")}`;
    },
    isCurrent: (sealed) => sealed.startsWith(`${FORMAT}.${current.id}.`),
    open(sealed, context) {
      const [format, keyId, body] = sealed.split(".");
      const key = keys.find(({ id }) => id === keyId);
      if (format !== FORMAT || key === undefined || body === undefined) return undefined;
      return decrypt(key.key, Buffer.from(body, "base64url"), context);
    },
  };
}

function decrypt(key: Buffer, body: Buffer, context: string): string | undefined {
  if (body.length < IV_BYTES + TAG_BYTES) return undefined;
  const decipher = createDecipheriv("aes-256-gcm", key, body.subarray(0, IV_BYTES), {
    authTagLength: TAG_BYTES,
  })
    .setAAD(Buffer.from(context))
    .setAuthTag(body.subarray(-TAG_BYTES));
  try {
    const text = decipher.update(body.subarray(IV_BYTES, -TAG_BYTES));
    return Buffer.concat([text, decipher.final()]).toString("utf8");
  } catch {
    return undefined; // The tag does not match: tampered with, another context, or another key of the same id.
  }
}

/** SECRET_KEY is high-entropy text, not a password: HKDF (RFC 5869), no stretching. */
function deriveKey(secret: string): Key {
  const key = Buffer.from(hkdfSync("sha256", secret, "", "mcp-oidc-proxy aes-256-gcm", 32));
  return { id: createHash("sha256").update(key).digest("base64url").slice(0, 8), key };
}
