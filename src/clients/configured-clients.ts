/** Clients that the operator registered in the setting CLIENTS; they do not expire. */
import { z } from "zod";
import { AUTH_METHODS, authMethod, type Client, DEFAULT_GRANT_TYPES } from "../oauth/client-metadata.ts";
import { redirectUriProblem } from "../oauth/redirect-uri.ts";
import { sha256 } from "../oauth/sha256.ts";

/** A client as in the store; its secret is hashed immediately, so that the configuration does not hold it. */
export type ConfiguredClient = Client & { provenance: "configured" };

const Entry = z.strictObject({
  client_id: z.string().min(1).max(256),
  client_name: z.string().optional(),
  client_secret: z.string().min(32).optional(),
  redirect_uris: z.array(z.string()).min(1),
  /** Restricts what this client can ask for; absent: all scopes. */
  scope: z.string().optional(),
  /** Absent: the secret is accepted in the header and in the body. */
  token_endpoint_auth_method: z.enum(AUTH_METHODS).optional(),
});

/**
 * Parses the setting CLIENTS: a JSON array.
 * @throws Error whose message continues the sentence "CLIENTS …"
 */
export function parseConfiguredClients(text: string): ConfiguredClient[] {
  const parsed = z.array(Entry).safeParse(parseJson(text));
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new Error(`is not valid at ${issue?.path.join(".") || "its top"}: ${issue?.message}`);
  }
  const ids = parsed.data.map(({ client_id }) => client_id);
  const twice = ids.find((id, index) => ids.indexOf(id) !== index);
  if (twice !== undefined) throw new Error(`names ${twice} twice`);
  return parsed.data.map(configuredClient);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(
      'must be a JSON array such as [{"client_id":"ci","redirect_uris":["https://ci.example.com/callback"]}]',
    );
  }
}

function configuredClient(entry: z.infer<typeof Entry>): ConfiguredClient {
  const { client_secret, token_endpoint_auth_method, client_name, scope, ...rest } = entry;
  for (const uri of entry.redirect_uris) {
    const problem = redirectUriProblem(uri);
    if (problem !== undefined) throw new Error(`has a redirect URI of ${entry.client_id} that ${problem}`);
  }
  const isPublic = client_secret === undefined;
  const method = authMethod(token_endpoint_auth_method ?? (isPublic ? "none" : undefined));
  if ((method.token_endpoint_auth_method === "none") !== isPublic)
    throw new Error(`gives ${entry.client_id} ${isPublic ? "no client_secret" : "a secret it does not use"}`);
  return {
    ...rest,
    client_id_issued_at: 0,
    ...(client_name !== undefined && { client_name }),
    ...(scope !== undefined && { scope }),
    ...(client_secret !== undefined && { secretHash: sha256(client_secret) }),
    grant_types: [...DEFAULT_GRANT_TYPES],
    response_types: ["code"],
    ...method,
    provenance: "configured",
    usedAt: 0,
  };
}
