/** What this server proves to its identity provider with that it is its client: read from its settings, and checked. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { decodeJwt } from "jose";
import { parseJsonObject } from "../../oauth/json.ts";
import { sha256 } from "../../oauth/sha256.ts";
import { readText } from "../../runtime/read-text.ts";
import { InvalidValue } from "../../runtime/setting-problem.ts";
import type { CredentialSettings, PrivateKeySettings } from "../settings.ts";

export type Credential =
  /** The first is the current one; another is on its way in or out. */
  | { kind: "secrets"; secrets: readonly string[] }
  | ({ kind: "private_key" } & SigningKey)
  /** Somebody else's assertion about this server, such as a token that Kubernetes mounts (RFC 7523 §2.2). */
  | { kind: "assertion"; assertion: string };

export interface SigningKey {
  key: KeyObject;
  algorithm: string;
  keyId?: string;
  /** RFC 7515 §4.1.8: by which Entra finds the certificate. */
  certificateThumbprint?: string;
}

/** The text of what the settings name; undefined for a secret that they hold themselves. */
export type CredentialText = { main: string; certificate?: string };

/** @throws InvalidValue, of the setting that names the file */
export function readCredentialText(settings: CredentialSettings): CredentialText {
  switch (settings.kind) {
    case "secret":
      return { main: settings.secret };
    case "secret_file":
    case "token_file":
      return { main: readText(settings.path) };
    case "private_key": {
      const { path, text, certificatePath } = settings;
      return {
        main: text ?? readText(path ?? ""),
        ...(certificatePath !== undefined && { certificate: readText(certificatePath) }),
      };
    }
  }
}

/** @throws InvalidValue that says what is wrong with the content, and nothing of it */
export function parseCredential(
  settings: CredentialSettings,
  { main, certificate }: CredentialText,
): Credential {
  switch (settings.kind) {
    case "secret":
      return { kind: "secrets", secrets: [main] };
    case "secret_file":
      return { kind: "secrets", secrets: secretsOf(main) };
    case "token_file":
      return { kind: "assertion", assertion: assertionOf(main) };
    case "private_key":
      return { kind: "private_key", ...signingKey(settings, main, certificate) };
  }
}

const MOST_SECRETS = 2;

/** One in each line, so that the next secret can be there before the provider takes it. */
function secretsOf(text: string): string[] {
  const lines = text.split("\n").map((line) => line.trim());
  const secrets = lines.filter((line) => line !== "");
  if (secrets.length === 0) throw new InvalidValue("is empty", "write the client secret into it");
  if (secrets.length > MOST_SECRETS)
    throw new InvalidValue(
      "has more than two lines",
      "write one secret, or two while one replaces the other",
    );
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is meant
  if (secrets.some((secret) => /[\u0000-\u001f\u007f]/.test(secret)))
    throw new InvalidValue("has a control character in a secret", "write the secret alone in its line");
  return secrets;
}

function assertionOf(text: string): string {
  const assertion = text.trim();
  if (assertion === "") throw new InvalidValue("is empty", "see that the platform writes its token there");
  try {
    decodeJwt(assertion);
  } catch {
    throw new InvalidValue("holds no JWT", "name the file into which the platform writes its token");
  }
  return assertion;
}

const ALGORITHMS: Readonly<Record<string, readonly [string, ...string[]]>> = {
  rsa: ["RS256", "PS256", "RS384", "RS512", "PS384", "PS512"],
  "rsa-pss": ["PS256", "PS384", "PS512"],
  prime256v1: ["ES256"],
  secp384r1: ["ES384"],
  secp521r1: ["ES512"],
  ed25519: ["EdDSA", "Ed25519"],
};
/** For the settings: what a key may be told to sign with. */
export const SIGNING_ALGORITHMS: readonly string[] = [...new Set(Object.values(ALGORITHMS).flat())];
const LEAST_RSA_BITS = 2_048;

function signingKey(settings: PrivateKeySettings, text: string, certificate?: string): SigningKey {
  const jwk = parseJsonObject(text);
  const key = privateKeyOf(text, jwk);
  const algorithm = algorithmOf(key, settings.algorithm ?? stringOf(jwk?.alg));
  const keyId = settings.keyId ?? stringOf(jwk?.kid);
  return {
    key,
    algorithm,
    ...(keyId !== undefined && { keyId }),
    ...(certificate !== undefined && { certificateThumbprint: thumbprintOf(certificate, key) }),
  };
}

function privateKeyOf(text: string, jwk: Record<string, unknown> | undefined): KeyObject {
  try {
    // Some platforms keep a variable on one line.
    const pem = text.replaceAll("\\n", "\n");
    return createPrivateKey(jwk === undefined ? pem : { key: jwk, format: "jwk" });
  } catch {
    const problem = text.includes("ENCRYPTED")
      ? "holds a private key under a passphrase, which this server has not got"
      : "holds no private key";
    throw new InvalidValue(problem, "write an unencrypted private key into it, as PEM (PKCS #8) or as a JWK");
  }
}

function algorithmOf(key: KeyObject, wanted: string | undefined): string {
  const { asymmetricKeyType: type = "", asymmetricKeyDetails: { namedCurve, modulusLength } = {} } = key;
  const fitting = ALGORITHMS[namedCurve ?? type];
  if (fitting === undefined)
    throw new InvalidValue(
      "holds a private key of a kind that signs no JWT here",
      "use an RSA, P-256, P-384, P-521 or Ed25519 key",
    );
  if (modulusLength !== undefined && modulusLength < LEAST_RSA_BITS)
    throw new InvalidValue(
      `holds an RSA key of ${modulusLength} bits, which is too short`,
      `use one of ${LEAST_RSA_BITS} bits or more (RFC 7518 §3.3)`,
    );
  if (wanted !== undefined && !fitting.includes(wanted))
    throw new InvalidValue(
      `holds a key that cannot sign with ${wanted}`,
      `leave the algorithm out, or name one of ${fitting.join(", ")}`,
    );
  return wanted ?? fitting[0];
}

function thumbprintOf(pem: string, key: KeyObject): string {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(pem);
  } catch {
    throw new InvalidValue("has a certificate file beside it that holds no certificate", "write it as PEM");
  }
  if (!certificate.checkPrivateKey(key))
    throw new InvalidValue(
      "holds another key than that of its certificate",
      "use the key and the certificate that belong together",
    );
  return sha256(certificate.raw);
}

const stringOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);
