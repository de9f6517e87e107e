/** The provider's keys (JWKS): can they be read, and is there one with which an ID token could be verified? */
import { importJWK, type JWK } from "jose";
import { ask, describeOther, jsonObject } from "./ask.ts";
import { type Finding, failure, ok } from "./finding.ts";
import type { ProviderMetadata } from "./provider-metadata.ts";

const CHECK = "provider.keys";
const ALGORITHM: Readonly<Record<string, string>> = { RSA: "RS256", EC: "ES256", OKP: "EdDSA" };

export async function checkKeys({ jwks_uri: uri }: ProviderMetadata, timeoutMs: number): Promise<Finding> {
  if (typeof uri !== "string" || !URL.canParse(uri))
    return failure(
      CHECK,
      "Its discovery document names no jwks_uri: no token could be verified",
      "Use an issuer that publishes its keys.",
    );
  const asked = await ask(uri, { timeoutMs });
  if ("none" in asked) return failure(CHECK, `Its keys cannot be read: ${asked.none.says}`, asked.none.fix);
  const { answer } = asked;
  const keys = answer.status === 200 ? jsonObject(answer.text)?.keys : undefined;
  if (!Array.isArray(keys))
    return failure(
      CHECK,
      `There is no key set at ${uri}: it answers ${describeOther(answer)}`,
      `Look at ${uri} in a browser: it has to be a JSON document with keys. Otherwise repair it at the provider.`,
    );
  const usable = (await Promise.all(keys.map(isUsable))).filter(Boolean).length;
  if (usable > 0) return ok(CHECK, `Its keys can be read: ${usable} to verify signatures with`);
  return failure(
    CHECK,
    `None of the ${keys.length} keys at ${uri} can verify an ID token's signature`,
    "Let the provider sign ID tokens with RS256, PS256, ES256 or EdDSA, not with a shared secret (HS256).",
  );
}

async function isUsable(key: JWK): Promise<boolean> {
  const algorithm = ALGORITHM[key?.kty ?? ""];
  if (algorithm === undefined || (key.use !== undefined && key.use !== "sig")) return false;
  try {
    await importJWK(key, key.alg ?? (key.kty === "EC" ? `ES${key.crv?.slice(-3)}` : algorithm));
    return true;
  } catch {
    return false;
  }
}
