/**
 * Authenticated encryption under SECRET_KEY (AES-256-GCM). What is sealed for one context cannot be opened in
 * another: a record cannot be moved to another key, a consent form cannot pass as a record.
 */
import {
  type CipherKey,
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from "node:crypto";
import { packed, unpacked } from "./packed-text.ts";

export interface Sealer {
  /**
   * Encrypts and authenticates `text`, bound to `context`. All of these share a key, and two equal IVs would give it away:
   * for what signed-in use causes, far below 2^32 messages (NIST SP 800-38D §8.3).
   */
  seal(text: string, context: string): string;
  /**
   * The same, compressed first. How well it compresses shows in its length, to whoever sees what is stored: not for what a stranger
   * may have sealed again and again beside the same secret.
   */
  sealCompact(text: string, context: string): string;
  /** The same as {@link seal} under a key of its own, for what anybody can have sealed, as often as they like. */
  sealForStranger(text: string, context: string): string;
  /** The same text under the first key, in the form in which it was; undefined if it cannot be opened. */
  reseal(sealed: string, context: string): string | undefined;
  /** True if it was sealed with the first of the keys. */
  isCurrent(sealed: string): boolean;
  /** The text, or undefined if it was not sealed for this context under one of the keys. */
  open(sealed: string, context: string): string | undefined;
}

const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;
const SALT_BYTES = 32;

/** What one message is encrypted with. */
interface MessageKey {
  key: CipherKey;
  iv: Buffer;
}

/** One of SECRET_KEY. */
interface Key {
  id: string;
  /** Not the bytes: of these Node 24 would make a key for every message, which takes longer than to encrypt it. */
  shared: KeyObject;
  secret: string;
}

/** `FORMAT.KEY_ID.BODY`; the body is a prefix that leads to the message's key, the ciphertext and the tag. */
interface Format {
  prefixBytes: number;
  messageKey(key: Key, prefix: Buffer): MessageKey;
  /** What is encrypted in place of the text. */
  bytesOf(text: string): Buffer;
  /** @throws if it cannot be their text */
  textOf(bytes: Buffer): string;
  /** Formats under one key must not pass for each other. */
  contextOf(context: string): string;
}

const asItIs = {
  bytesOf: (text: string) => Buffer.from(text, "utf8"),
  textOf: (bytes: Buffer) => bytes.toString("utf8"),
  contextOf: (context: string) => context,
};
const ofSharedKey = {
  prefixBytes: IV_BYTES,
  messageKey: ({ shared }: Key, iv: Buffer): MessageKey => ({ key: shared, iv }),
};

const formats = {
  /** One key for all messages, and a random IV. */
  1: { ...ofSharedKey, ...asItIs },
  /** Key and IV from a random salt, as RFC 8188 §2.2 and §2.3 do it. */
  2: {
    ...asItIs,
    prefixBytes: SALT_BYTES,
    messageKey({ secret }, salt) {
      const bytes = derive(secret, salt, "mcp-oidc-proxy aes-256-gcm message", KEY_BYTES + IV_BYTES);
      return { key: bytes.subarray(0, KEY_BYTES), iv: bytes.subarray(KEY_BYTES) };
    },
  },
  /** As the first, and packed. */
  3: {
    ...ofSharedKey,
    bytesOf: packed,
    textOf: unpacked,
    contextOf: (context) => `packed ${context}`,
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

  function open(sealed: string, context: string): string | undefined {
    const [name, keyId, body] = sealed.split(".");
    const format = formatOf(name);
    const key = keys.find(({ id }) => id === keyId);
    if (format === undefined || key === undefined || body === undefined) return undefined;
    return decrypt(format, key, Buffer.from(body, "base64url"), context);
  }

  return {
    seal: (text, context) => sealAs(1, text, context),
    sealCompact: (text, context) => sealAs(3, text, context),
    sealForStranger: (text, context) => sealAs(2, text, context),
    isCurrent(sealed) {
      const [name, keyId] = sealed.split(".", 2);
      return formatOf(name) !== undefined && keyId === current.id;
    },
    reseal(sealed, context) {
      const text = open(sealed, context);
      return text === undefined ? undefined : sealAs(sealed.startsWith("3.") ? 3 : 1, text, context);
    },
    open,
  };
}

function formatOf(name: string | undefined): Format | undefined {
  return name === "1" || name === "2" || name === "3" ? formats[name] : undefined;
}

function encrypt(format: Format, key: Key, text: string, context: string): Buffer {
  const prefix = randomBytes(format.prefixBytes);
  const { key: bytes, iv } = format.messageKey(key, prefix);
  const cipher = createCipheriv("aes-256-gcm", bytes, iv).setAAD(Buffer.from(format.contextOf(context)));
  return Buffer.concat([prefix, cipher.update(format.bytesOf(text)), cipher.final(), cipher.getAuthTag()]);
}

function decrypt(
  { prefixBytes, messageKey, textOf, contextOf }: Format,
  key: Key,
  body: Buffer,
  context: string,
): string | undefined {
  if (body.length < prefixBytes + TAG_BYTES) return undefined;
  const { key: bytes, iv } = messageKey(key, body.subarray(0, prefixBytes));
  const decipher = createDecipheriv("aes-256-gcm", bytes, iv, { authTagLength: TAG_BYTES })
    .setAAD(Buffer.from(contextOf(context)))
    .setAuthTag(body.subarray(-TAG_BYTES));
  try {
    const opened = decipher.update(body.subarray(prefixBytes, -TAG_BYTES));
    return textOf(Buffer.concat([opened, decipher.final()]));
  } catch {
    return undefined; // The tag does not match: tampered with, another context, or another key of the same id.
  }
}

function keyOf(secret: string): Key {
  const shared = derive(secret, "", "mcp-oidc-proxy aes-256-gcm", KEY_BYTES);
  const id = createHash("sha256").update(shared).digest("base64url").slice(0, 8);
  return { id, shared: createSecretKey(shared), secret };
}

/** SECRET_KEY is high-entropy text, not a password: HKDF (RFC 5869), no stretching. */
function derive(secret: string, salt: string | Buffer, purpose: string, bytes: number): Buffer {
  return Buffer.from(hkdfSync("sha256", secret, salt, purpose, bytes));
}
