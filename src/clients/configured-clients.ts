/** Clients that the operator registered in the setting CLIENTS; they do not expire. */
import { z } from "zod";
import { AUTH_METHODS, authMethod, type Client, DEFAULT_GRANT_TYPES } from "../oauth/client-metadata.ts";
import { redirectUriProblem } from "../oauth/redirect-uri.ts";
import { sha256 } from "../oauth/sha256.ts";
import { InvalidValue } from "../runtime/setting-problem.ts";

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
 * @throws InvalidValue
 */
export function parseConfiguredClients(text: string): ConfiguredClient[] {
  const parsed = z.array(Entry).safeParse(parseJson(text));
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

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new InvalidValue(
      "must be a JSON array",
      'write it like [{"client_id":"ci","redirect_uris":["https://ci.example.com/callback"]}]',
    );
  }
}

function configuredClient(entry: z.infer<typeof Entry>): ConfiguredClient {
  const { client_secret, token_endpoint_auth_method, client_name, scope, ...rest } = entry;
  for (const uri of entry.redirect_uris) {
    const problem = redirectUriProblem(uri);
    if (problem !== undefined)
      throw new InvalidValue(
        `has a redirect URI of ${entry.client_id} that ${problem}`,
        "replace or remove that redirect URI",
      );
  }
  const isPublic = client_secret === undefined;
  const method = authMethod(token_endpoint_auth_method ?? (isPublic ? "none" : undefined));
  if ((method.token_endpoint_auth_method === "none") !== isPublic)
    throw isPublic
      ? new InvalidValue(
          `gives ${entry.client_id} no client_secret`,
          "add one, or remove its token_endpoint_auth_method",
        )
      : new InvalidValue(
          `gives ${entry.client_id} a secret it does not use`,
          "remove its client_secret, or its token_endpoint_auth_method",
        );
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
