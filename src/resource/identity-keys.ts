/**
 * The keys that sign who is calling, for backends (signed-identity.ts). Each follows from one of SECRET_KEY: every replica has
 * them, and none is stored or sent between replicas.
 */
import { createECDH, createPrivateKey, hkdfSync, type KeyObject } from "node:crypto";
import { sha256 } from "../oauth/sha256.ts";

/** ECDSA on P-256, which every JOSE library verifies (RFC 7518 §3.1: recommended); EdDSA is missing in those of Java and .NET. */
export const IDENTITY_ALGORITHM = "ES256";

export interface PublicKey {
  readonly kty: "EC";
  readonly crv: "P-256";
  readonly x: string;
  readonly y: string;
  readonly kid: string;
  readonly alg: typeof IDENTITY_ALGORITHM;
  readonly use: "sig";
}

export interface IdentityKeys {
  /** That of the first SECRET_KEY signs. */
  readonly kid: string;
  readonly privateKey: KeyObject;
  /** Those of all of them (RFC 7517 §5), so that a key is known before it signs. */
  readonly published: { readonly keys: readonly PublicKey[] };
}

export function identityKeys(secretKeys: readonly string[]): IdentityKeys {
  const pairs = secretKeys.map(pairOf);
  const [first] = pairs;
  if (first === undefined) throw new Error("identityKeys needs at least one secret key");
  return {
    kid: first.publicKey.kid,
    privateKey: first.privateKey,
    published: { keys: pairs.map(({ publicKey }) => publicKey) },
  };
}

/** The number of points of P-256 (FIPS 186-5, SP 800-186 §3.2.1.3). */
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
/** 128 bits more than the order has: the remainder is as good as evenly distributed (FIPS 186-5 A.2.1 asks for 64). */
const SEED_BYTES = 48;
const COORDINATE_BYTES = 32;

function pairOf(secretKey: string): { privateKey: KeyObject; publicKey: PublicKey } {
  // A label of its own: no other use of SECRET_KEY has any of these bytes (RFC 5869 §3.2).
  const seed = hkdfSync("sha256", secretKey, "", "mcp-oidc-proxy ES256 identity for backends", SEED_BYTES);
  // FIPS 186-5 A.2.1, key pair generation with extra random bits: from 1 to ORDER - 1.
  const scalar = (BigInt(`0x${Buffer.from(seed).toString("hex")}`) % (ORDER - 1n)) + 1n;
  const bytes = Buffer.from(scalar.toString(16).padStart(2 * COORDINATE_BYTES, "0"), "hex");
  const curve = createECDH("prime256v1");
  curve.setPrivateKey(bytes);
  const point = curve.getPublicKey(); // 0x04, x, y (SEC 1 §2.3.3)
  const x = point.subarray(1, 1 + COORDINATE_BYTES).toString("base64url");
  const y = point.subarray(1 + COORDINATE_BYTES).toString("base64url");
  const jwk = { kty: "EC", crv: "P-256", x, y } as const;
  return {
    privateKey: createPrivateKey({ key: { ...jwk, d: bytes.toString("base64url") }, format: "jwk" }),
    publicKey: { ...jwk, kid: thumbprint(jwk), alg: IDENTITY_ALGORITHM, use: "sig" },
  };
}

/** RFC 7638 §3: the required members alone, in the order of their names. */
function thumbprint({ kty, crv, x, y }: Pick<PublicKey, "kty" | "crv" | "x" | "y">): string {
  return sha256(JSON.stringify({ crv, kty, x, y }));
}
