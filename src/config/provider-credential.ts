/** What this server proves to its identity provider with that it is its client: a secret, a private key, or a platform's token. */
import { parseCredential, readCredentialText, SIGNING_ALGORITHMS } from "../identity/oidc/credential.ts";
import type { CredentialSettings } from "../identity/settings.ts";
import type { Settings } from "./settings.ts";

interface Choice {
  name: string;
  settings: CredentialSettings;
}

/** Set by Azure's workload identity in every pod. */
const AZURE_TOKEN_FILE = "AZURE_FEDERATED_TOKEN_FILE";

/**
 * @param secretName the setting of the client secret itself
 * @param remedy how to come by the secret: "set it to …"
 */
export function providerCredential(
  settings: Settings,
  secretName: string,
  remedy: string,
): CredentialSettings {
  const choices = choicesOf(settings, secretName);
  const [first, ...others] = choices;
  for (const { name } of others)
    settings.problem(name, `is set beside ${first?.name}`, "keep one of the two");
  belongsToAKey(settings, first);
  if (first === undefined) {
    settings.problem(secretName, "is missing", `${remedy}, or name a key or a token file (docs/settings.md)`);
    return { kind: "secret", secret: "" };
  }
  if (first.settings.kind === "secret") settings.requiredLine(first.name, remedy);
  // Whether it can be used is known before the first sign-in.
  else
    settings.attempt(first.name, () => parseCredential(first.settings, readCredentialText(first.settings)));
  return first.settings;
}

function choicesOf(settings: Settings, secretName: string): Choice[] {
  const secret = settings.optional(secretName);
  const secretFile = settings.optional("OIDC_CLIENT_SECRET_FILE");
  const keyText = settings.optional("OIDC_PRIVATE_KEY");
  const keyFile = settings.optional("OIDC_PRIVATE_KEY_FILE");
  const tokenFile = settings.optional("OIDC_FEDERATED_TOKEN_FILE");
  const key = signingSettings(settings);
  const choices: Choice[] = [];
  const add = (name: string, each: CredentialSettings) => choices.push({ name, settings: each });
  if (secret !== undefined) add(secretName, { kind: "secret", secret });
  if (secretFile !== undefined) add("OIDC_CLIENT_SECRET_FILE", { kind: "secret_file", path: secretFile });
  if (keyText !== undefined) add("OIDC_PRIVATE_KEY", { kind: "private_key", text: keyText, ...key });
  if (keyFile !== undefined) add("OIDC_PRIVATE_KEY_FILE", { kind: "private_key", path: keyFile, ...key });
  if (tokenFile !== undefined) add("OIDC_FEDERATED_TOKEN_FILE", { kind: "token_file", path: tokenFile });
  // Of several providers nobody knows which one it is for, and the others must not be given it.
  const isTheOnly = (settings.file?.providers.length ?? 0) < 2;
  const azure = choices.length === 0 && isTheOnly ? settings.optional(AZURE_TOKEN_FILE) : undefined;
  if (azure !== undefined) add(AZURE_TOKEN_FILE, { kind: "token_file", path: azure });
  return choices;
}

const KEY_SETTINGS = {
  keyId: "OIDC_PRIVATE_KEY_ID",
  algorithm: "OIDC_PRIVATE_KEY_ALGORITHM",
  certificatePath: "OIDC_CERTIFICATE_FILE",
} as const;

function signingSettings(settings: Settings) {
  const keyId = settings.optional(KEY_SETTINGS.keyId);
  const algorithm = settings.optional(KEY_SETTINGS.algorithm);
  const certificatePath = settings.optional(KEY_SETTINGS.certificatePath);
  if (algorithm !== undefined && !SIGNING_ALGORITHMS.includes(algorithm))
    settings.problem(
      KEY_SETTINGS.algorithm,
      `must be one of ${SIGNING_ALGORITHMS.join(", ")}`,
      "write one of them, or leave it out",
    );
  return {
    ...(keyId !== undefined && { keyId }),
    ...(algorithm !== undefined && { algorithm }),
    ...(certificatePath !== undefined && { certificatePath }),
  };
}

/** Settings that only a private key has a use for. */
function belongsToAKey(settings: Settings, chosen: Choice | undefined): void {
  if (chosen?.settings.kind === "private_key") {
    if (settings.text("OIDC_TOKEN_ENDPOINT_AUTH_METHOD", "auto") !== "auto")
      settings.problem(
        "OIDC_TOKEN_ENDPOINT_AUTH_METHOD",
        `says how a secret is sent, and ${chosen.name} is a key`,
        "leave it out",
      );
    return;
  }
  for (const name of Object.values(KEY_SETTINGS))
    if (settings.optional(name) !== undefined)
      settings.problem(name, "counts only with OIDC_PRIVATE_KEY or OIDC_PRIVATE_KEY_FILE", "set one of them");
}
