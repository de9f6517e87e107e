/** Proof Key for Code Exchange, S256 only (RFC 7636; OAuth 2.1 §4.1.1). */
import { createHash } from "node:crypto";
import { z } from "zod";
import { isEqualInConstantTime } from "./constant-time.ts";

/** 43 to 128 unreserved characters (RFC 7636 §4.1). */
export const CodeVerifier = z
  .string()
  .refine(
    (verifier) => /^[A-Za-z0-9\-._~]{43,128}$/.test(verifier),
    "has to be 43 to 128 of the characters A-Z a-z 0-9 - . _ ~ (RFC 7636)",
  );

/** An S256 challenge is always 43 base64url characters (RFC 7636 §4.2). */
export const CodeChallenge = z.string().regex(/^[A-Za-z0-9_-]{43}$/);

/** BASE64URL(SHA256(verifier)). */
export function codeChallengeOf(verifier: string): string {
  return createHash("sha256").update(verifier, "ascii").digest("base64url");
}

export function verifierMatches(verifier: string, challenge: string): boolean {
  return isEqualInConstantTime(codeChallengeOf(verifier), challenge);
}
