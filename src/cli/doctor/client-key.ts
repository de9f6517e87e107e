/** What proves who we are without a shared secret: what of it has to be known at the provider, and how long it is good for. */
import { createPublicKey, X509Certificate } from "node:crypto";
import { decodeJwt } from "jose";
import { parseCredential, readCredentialText } from "../../identity/oidc/credential.ts";
import type { IdentityProviderSettings } from "../../identity/settings.ts";
import { InvalidValue } from "../../runtime/setting-problem.ts";
import { endOf } from "./certificate.ts";
import { checkOf, type Finding } from "./finding.ts";

type Client = Pick<IdentityProviderSettings, "credential">;

/** What to enter at the provider; nothing for a secret, which comes from there. */
export function credentialSteps(client: Client): string[] {
  const { credential, certificate } = readable(client) ?? {};
  if (credential === undefined || credential.kind === "secrets") return [];
  if (credential.kind === "assertion") {
    const { iss = "none", sub = "none", aud } = decodeJwt(credential.assertion);
    return [`A federated credential: issuer ${iss}, subject ${sub}, audience ${[aud].flat().join(" ")}.`];
  }
  const { key, keyId: kid, algorithm: alg } = credential;
  const how = `with which it proves who it is (private_key_jwt, ${alg})`;
  if (certificate !== undefined) {
    const { day } = endOf(certificate.validTo, 0);
    return [`The certificate ${how}: SHA-256 fingerprint ${certificate.fingerprint256}, until ${day}.`];
  }
  const jwk = { ...createPublicKey(key).export({ format: "jwk" }), kid, alg, use: "sig" };
  return [`The public key ${how}: ${JSON.stringify(jwk)}`];
}

const WARNING_DAYS = 30;

/** Nobody else looks at its end: the provider refuses it then, and with it every refresh. */
export function checkCertificateOfClient(client: Client, now: number): Finding | undefined {
  const found = checkOf("provider.certificate");
  const { certificate } = readable(client) ?? {};
  if (certificate === undefined) return undefined;
  const { days, day } = endOf(certificate.validTo, now);
  const says = "The certificate with which this server proves who it is";
  if (days >= WARNING_DAYS) return found`✓ ${says} is good until ${day}`;
  return found`! ${says} ${days < 0 ? "ended" : "ends"} on ${day}
    → Register a new certificate at the provider beside the old one, and then replace key and certificate here: no restart is needed.`;
}

/** What is wrong with it is said under the settings. */
function readable({ credential: settings }: Client) {
  try {
    const text = readCredentialText(settings);
    const certificate = text.certificate === undefined ? undefined : new X509Certificate(text.certificate);
    return { credential: parseCredential(settings, text), certificate };
  } catch (error) {
    if (error instanceof InvalidValue) return undefined;
    throw error;
  }
}
