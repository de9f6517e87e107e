/** Clients that the operator registered in the setting CLIENTS; they do not expire. */
import { z } from "zod";
import {
  AUTH_METHODS,
  authMethod,
  CLIENT_CREDENTIALS_GRANT,
  type Client,
  DEFAULT_GRANT_TYPES,
  JWT_BEARER_GRANT,
} from "../oauth/client-metadata.ts";
import { parseJson } from "../oauth/json.ts";
import { ASYMMETRIC_ALGORITHMS } from "../oauth/jwt.ts";
import { isLoopbackHost, redirectUriProblem } from "../oauth/redirect-uri.ts";
import { sha256 } from "../oauth/sha256.ts";
import { InvalidValue } from "../runtime/setting-problem.ts";
import { parseJwks } from "./metadata-documents/jwks.ts";

const CONFIGURABLE_GRANT_TYPES = [
  "authorization_code",
  "refresh_token",
  CLIENT_CREDENTIALS_GRANT,
  JWT_BEARER_GRANT,
] as const;

/** A client as in the store; its secret is hashed immediately, so that the configuration does not hold it. */
export type ConfiguredClient = Client & { provenance: "configured" };

const Secret = z.string().min(32);

const Entry = z.strictObject({
  client_id: z.string().min(1).max(256),
  client_name: z.string().optional(),
  /** Two of them while the secret is being changed. */
  client_secret: z.union([Secret, z.array(Secret).min(1).max(2)]).optional(),
  /** The public keys of a client that signs (`private_key_jwt`), or where it publishes them. */
  jwks: z.unknown().optional(),
  jwks_uri: z.string().optional(),
  /** Needed where people sign in. */
  redirect_uris: z.array(z.string()).default([]),
  grant_types: z.array(z.enum(CONFIGURABLE_GRANT_TYPES)).min(1).optional(),
  /** Restricts what this client can ask for; absent: all scopes, but none with `client_credentials`. */
  scope: z.string().optional(),
  /** Absent: what the credentials are for; a secret is accepted in the header and in the body. */
  token_endpoint_auth_method: z.enum([...AUTH_METHODS, "private_key_jwt"]).optional(),
  token_endpoint_auth_signing_alg: z
    .string()
    .refine((algorithm) => ASYMMETRIC_ALGORITHMS.includes(algorithm), {
      error: `must be one of ${ASYMMETRIC_ALGORITHMS.join(", ")}`,
    })
    .optional(),
});
type Entry = z.infer<typeof Entry>;

/**
 * Parses the setting CLIENTS: a JSON array.
 * @throws InvalidValue
 */
export function parseConfiguredClients(text: string): ConfiguredClient[] {
  const written = parseJson(text);
  if (written === undefined)
    throw new InvalidValue(
      "must be a JSON array",
      'write it like [{"client_id":"ci","redirect_uris":["https://ci.example.com/callback"]}]',
    );
  const parsed = z.array(Entry).safeParse(written);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new InvalidValue(
      `is not valid at ${issue?.path.join(".") || "its top"} (${issue?.message})`,
      "correct that entry; docs/settings.md shows one",
    );
  }
  const ids = parsed.data.map(({ client_id }) => client_id);
  const twice = ids.find((id, index) => ids.indexOf(id) !== index);
  if (twice !== undefined)
    throw new InvalidValue(
      `names ${twice} twice`,
      "keep one of them, or give the other a client_id of its own",
    );
  return parsed.data.map(configuredClient);
}

function configuredClient(entry: Entry): ConfiguredClient {
  const { client_id, client_name, scope, redirect_uris, token_endpoint_auth_signing_alg: algorithm } = entry;
  const grantTypes = entry.grant_types ?? [...DEFAULT_GRANT_TYPES];
  const problem = problemWith(entry, grantTypes);
  if (problem !== undefined) throw new InvalidValue(...problem);
  return {
    client_id,
    redirect_uris,
    client_id_issued_at: 0,
    ...(client_name !== undefined && { client_name }),
    ...(scope !== undefined && { scope }),
    ...credentials(entry),
    ...(algorithm !== undefined && { token_endpoint_auth_signing_alg: algorithm }),
    grant_types: grantTypes,
    response_types: grantTypes.includes("authorization_code") ? ["code"] : [],
    provenance: "configured",
    usedAt: 0,
  };
}

/** What is wrong, as the rest of a sentence that begins with "CLIENTS", and what to do. */
function problemWith(
  entry: Entry,
  grantTypes: readonly string[],
): [problem: string, remedy: string] | undefined {
  return (
    problemWithRedirectUris(entry, grantTypes) ??
    problemWithCredentials(entry, grantTypes) ??
    problemWithKeys(entry)
  );
}

function problemWithRedirectUris(
  { client_id: id, redirect_uris: uris }: Entry,
  grantTypes: readonly string[],
): [problem: string, remedy: string] | undefined {
  for (const uri of uris) {
    const problem = redirectUriProblem(uri);
    if (problem !== undefined)
      return [`has a redirect URI of ${id} that ${problem}`, "replace or remove that redirect URI"];
  }
  const forPeople = grantTypes.includes("authorization_code");
  if (forPeople && uris.length === 0)
    return [
      `gives ${id} no redirect_uris`,
      "add the address to which people come back after they sign in, or grant_types without authorization_code",
    ];
  if (!forPeople && uris.length > 0)
    return [`gives ${id} redirect_uris, which none of its grant_types uses`, "remove them"];
  if (!forPeople && grantTypes.includes("refresh_token"))
    return [
      `gives ${id} refresh_token without authorization_code`,
      "remove it: no other grant type has refresh tokens",
    ];
  return undefined;
}

function problemWithCredentials(
  { client_id: id, client_secret: secret, jwks, jwks_uri: uri, token_endpoint_auth_method: method }: Entry,
  grantTypes: readonly string[],
): [problem: string, remedy: string] | undefined {
  const [signs, hasSecret] = [jwks !== undefined || uri !== undefined, secret !== undefined];
  if ([hasSecret, jwks !== undefined, uri !== undefined].filter(Boolean).length > 1)
    return [`gives ${id} more than one of client_secret, jwks and jwks_uri`, "keep one of them"];
  if (method === "private_key_jwt" && !signs)
    return [`gives ${id} neither jwks nor jwks_uri`, "add one of them"];
  if (method !== undefined && method !== "private_key_jwt" && signs)
    return [
      `gives ${id} keys, and ${method} as the way to use them`,
      "remove its token_endpoint_auth_method",
    ];
  if (method === "none" && hasSecret)
    return [
      `gives ${id} a secret it does not use`,
      "remove its client_secret, or its token_endpoint_auth_method",
    ];
  if (method?.startsWith("client_secret") && !hasSecret)
    return [`gives ${id} no client_secret`, "add one, or remove its token_endpoint_auth_method"];
  if (grantTypes.includes(CLIENT_CREDENTIALS_GRANT) && !signs && !hasSecret)
    return [
      `gives ${id} the grant type client_credentials and no credentials`,
      "add client_secret, jwks or jwks_uri",
    ];
  return undefined;
}

function problemWithKeys({
  client_id: id,
  jwks,
  jwks_uri: uri,
}: Entry): [problem: string, remedy: string] | undefined {
  if (uri !== undefined && !isKeyAddress(uri))
    return [
      `gives ${id} a jwks_uri that is no https URL`,
      "name the https URL at which its keys are published",
    ];
  const keys = jwks === undefined ? undefined : parseJwks(jwks);
  return keys !== undefined && "problem" in keys
    ? [`gives ${id} jwks that ${keys.problem}`, 'write the public keys as {"keys":[…]}']
    : undefined;
}

/** The operator vouches for the address, which may be inside; but whoever is on the network must not choose the keys. */
function isKeyAddress(uri: string): boolean {
  if (!URL.canParse(uri)) return false;
  const { protocol, hostname } = new URL(uri);
  return protocol === "https:" || (protocol === "http:" && isLoopbackHost(hostname));
}

function credentials(entry: Entry) {
  const { client_secret: secret, jwks, jwks_uri, token_endpoint_auth_method } = entry;
  if (jwks !== undefined || jwks_uri !== undefined) {
    const keys = parseJwks(jwks);
    return {
      token_endpoint_auth_method: "private_key_jwt" as const,
      ...("jwks" in keys && { jwks: keys.jwks }),
      ...(jwks_uri !== undefined && { jwks_uri }),
    };
  }
  const [hash, other] = [secret ?? []].flat().map(sha256);
  const chosen = token_endpoint_auth_method === "private_key_jwt" ? undefined : token_endpoint_auth_method;
  return {
    ...authMethod(chosen ?? (hash === undefined ? "none" : undefined)),
    ...(hash !== undefined && { secretHash: hash }),
    ...(other !== undefined && { otherSecretHash: other }),
  };
}
