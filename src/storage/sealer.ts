/**
 * Authenticated encryption under SECRET_KEY (AES-256-GCM). What is sealed for one context cannot be opened in
 * another: a record cannot be moved to another key, a consent form cannot pass as a record.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";

export interface Sealer {
  /**
   * Encrypts and authenticates `text`, bound to `context`. All of these share a key, and two equal IVs would give it away:
   * for what signed-in use causes, far below 2^32 messages (NIST SP 800-38D §8.3).
   */
  seal(text: string, context: string): string;
  /** The same under a key of its own, for what anybody can have sealed, as often as they like. */
  sealForStranger(text: string, context: string): string;
  /** True if it was sealed with the first of the keys. */
  isCurrent(sealed: string): boolean;
  /** The text, or undefined if it was not sealed for this context under one of the keys. */
  open(sealed: string, context: string): string | undefined;
}

/** What one message is encrypted with. */
interface MessageKey {
  key: Buffer;
  iv: Buffer;
}

/** One of SECRET_KEY. */
interface Key {
  id: string;
  shared: Buffer;
  secret: string;
}

/** `FORMAT.KEY_ID.BODY`; the body is a prefix that leads to the message's key, the ciphertext and the tag. */
interface Format {
  prefixBytes: number;
  messageKey(key: Key, prefix: Buffer): MessageKey;
}

const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;
const SALT_BYTES = 32;

const formats = {
  /** One key for all messages, and a random IV. */
  1: { prefixBytes: IV_BYTES, messageKey: ({ shared }, iv) => ({ key: shared, iv }) },
  /** Key and IV from a random salt, as RFC 8188 §2.2 and §2.3 do it. */
  2: {
    prefixBytes: SALT_BYTES,
    messageKey({ secret }, salt) {
      const bytes = derive(secret, salt, "mcp-oidc-proxy aes-256-gcm message", KEY_BYTES + IV_BYTES);
      return { key: bytes.subarray(0, KEY_BYTES), iv: bytes.subarray(KEY_BYTES) };
    },
  },
} as const satisfies Record<number, Format>;
type FormatName = keyof typeof formats;

/** The first key seals; all of them open, so that keys can be rotated. */
export function createSealer(secretKeys: readonly string[]): Sealer {
  const keys = secretKeys.map(keyOf);
  const [current] = keys;
  if (current === undefined) throw new Error("createSealer needs at least one secret key");

  const sealAs = (name: FormatName, text: string, context: string) =>
    `${name}.${current.id}.${encrypt(formats[name], current, text, context).toString("base64url")}`;

  return {
    seal: (text, context) => sealAs(1, text, context),
    sealForStranger: (text, context) => sealAs(2, text, context),
    isCurrent(sealed) {
      const [name, keyId] = sealed.split(".", 2);
      return formatOf(name) !== undefined && keyId === current.id;
    },
    open(sealed, context) {
      const [name, keyId, body] = sealed.split(".");
      const format = formatOf(name);
      const key = keys.find(({ id }) => id === keyId);
      if (format === undefined || key === undefined || body === undefined) return undefined;
      return decrypt(format, key, Buffer.from(body, "base64url"), context);
    },
  };
}

function formatOf(name: string | undefined): Format | undefined {
  return name === "1" || name === "2" ? formats[name] : undefined;
}

function encrypt({ prefixBytes, messageKey }: Format, key: Key, text: string, context: string): Buffer {
  const prefix = randomBytes(prefixBytes);
  const { key: bytes, iv } = messageKey(key, prefix);
  const cipher = createCipheriv("aes-256-gcm", bytes, iv).setAAD(Buffer.from(context));
  return Buffer.concat([prefix, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(
  { prefixBytes, messageKey }: Format,
  key: Key,
  body: Buffer,
  context: string,
): string | undefined {
  if (body.length < prefixBytes + TAG_BYTES) return undefined;
  const { key: bytes, iv } = messageKey(key, body.subarray(0, prefixBytes));
  const decipher = createDecipheriv("aes-256-gcm", bytes, iv, { authTagLength: TAG_BYTES })
    .setAAD(Buffer.from(context))
    .setAuthTag(body.subarray(-TAG_BYTES));
  try {
    const text = decipher.update(body.subarray(prefixBytes, -TAG_BYTES));
    return Buffer.concat([text, decipher.final()]).toString("utf8");
  } catch {
    return undefined; // The tag does not match: tampered with, another context, or another key of the same id.
  }
}

function keyOf(secret: string): Key {
  const shared = derive(secret, "", "mcp-oidc-proxy aes-256-gcm", KEY_BYTES);
  return { id: createHash("sha256").update(shared).digest("base64url").slice(0, 8), shared, secret };
}

/** SECRET_KEY is high-entropy text, not a password: HKDF (RFC 5869), no stretching. */
function derive(secret: string, salt: string | Buffer, purpose: string, bytes: number): Buffer {
  return Buffer.from(hkdfSync("sha256", secret, salt, purpose, bytes));
}
