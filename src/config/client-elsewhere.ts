/** What CONFIG_FILE says of this server as a client of others: its id there, and the one thing with which it proves that. */
import { z } from "zod";
import type { ClientElsewhere } from "../identity/oidc/authenticated-post.ts";
import { parseCredential, readCredentialText, SIGNING_ALGORITHMS } from "../identity/oidc/credential.ts";
import { type CredentialSettings, SECRET_METHODS } from "../identity/settings.ts";
import { InvalidValue } from "../runtime/setting-problem.ts";

const text = z.string().min(1);

/** The names are those of an identity provider's. */
export const clientKeys = {
  clientId: text,
  clientSecret: text.exactOptional(),
  clientSecretFile: text.exactOptional(),
  privateKey: text.exactOptional(),
  privateKeyFile: text.exactOptional(),
  privateKeyId: text.exactOptional(),
  privateKeyAlgorithm: z.enum(SIGNING_ALGORITHMS).exactOptional(),
  certificateFile: text.exactOptional(),
  federatedTokenFile: text.exactOptional(),
  tokenEndpointAuthMethod: z.enum(SECRET_METHODS).exactOptional(),
};
type Keys = z.output<z.ZodObject<typeof clientKeys>>;

const PROOFS = [
  "clientSecret",
  "clientSecretFile",
  "privateKey",
  "privateKeyFile",
  "federatedTokenFile",
] as const;
const OF_A_KEY = ["privateKeyId", "privateKeyAlgorithm", "certificateFile"] as const;

/** Whether it can be used is known before it is. */
export function checkClient(keys: Keys, context: z.RefinementCtx): void {
  const problem = (key: keyof Keys, what: string, message: string) =>
    context.addIssue({ code: "custom", path: [key], message, params: { problem: what } });
  const [first, ...others] = PROOFS.filter((key) => keys[key] !== undefined);
  if (first === undefined) {
    problem("clientSecret", "is missing", "add it, or name a key or a token file (docs/settings.md)");
    return;
  }
  for (const other of others) problem(other, `is set beside ${first}`, "keep one of the two");
  const isKey = first === "privateKey" || first === "privateKeyFile";
  for (const key of OF_A_KEY)
    if (keys[key] !== undefined && !isKey)
      problem(key, "counts only with privateKey or privateKeyFile", "set one of them");
  if (keys.tokenEndpointAuthMethod !== undefined && !first.startsWith("clientSecret"))
    problem("tokenEndpointAuthMethod", "says how a secret is sent, and there is none", "leave it out");
  if (others.length > 0) return;
  const settings = credentialOf(keys);
  try {
    parseCredential(settings, readCredentialText(settings));
  } catch (error) {
    if (!(error instanceof InvalidValue)) throw error;
    problem(first, error.problem, error.remedy);
  }
}

/** @param secretMethod how a secret is sent where the file does not say */
export function clientElsewhere(
  keys: Keys,
  secretMethod: ClientElsewhere["tokenEndpointAuthMethod"],
): ClientElsewhere {
  const { clientId, tokenEndpointAuthMethod = secretMethod } = keys;
  return { clientId, credential: credentialOf(keys), tokenEndpointAuthMethod };
}

function credentialOf(keys: Keys): CredentialSettings {
  const { clientSecret, clientSecretFile, privateKey, privateKeyFile, federatedTokenFile } = keys;
  if (clientSecretFile !== undefined) return { kind: "secret_file", path: clientSecretFile };
  if (federatedTokenFile !== undefined) return { kind: "token_file", path: federatedTokenFile };
  if (privateKey === undefined && privateKeyFile === undefined)
    return { kind: "secret", secret: clientSecret ?? "" };
  const { privateKeyId: keyId, privateKeyAlgorithm: algorithm, certificateFile: certificatePath } = keys;
  return {
    kind: "private_key",
    ...(privateKey === undefined ? { path: privateKeyFile ?? "" } : { text: privateKey }),
    ...(keyId !== undefined && { keyId }),
    ...(algorithm !== undefined && { algorithm }),
    ...(certificatePath !== undefined && { certificatePath }),
  };
}

/** What of it is a secret. */
export function secretOf(settings: CredentialSettings): string {
  if (settings.kind === "secret") return settings.secret;
  return settings.kind === "private_key" ? (settings.text ?? "") : "";
}
