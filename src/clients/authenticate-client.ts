/** Who is calling the token and revocation endpoints (RFC 6749 §2.3). */
import type { Client } from "../oauth/client-metadata.ts";
import { OAuthError } from "../oauth/errors.ts";
import { ClientCredentials, parse } from "../oauth/requests.ts";
import type { Clients } from "./find-client.ts";
import { matchesHash } from "./register.ts";

declare const proof: unique symbol;

/** A client that proved who it is by the method it registered; only `authenticateClient` makes one. */
export type AuthenticatedClient = Client & { readonly [proof]: true };

interface Credentials {
  method: Client["token_endpoint_auth_method"];
  clientId: string;
  secret?: string;
}

/**
 * @throws OAuthError `invalid_client`: 401 also for an unknown client, so that it registers again instead of giving
 * up (RFC 6749 §5.2).
 */
export async function authenticateClient(
  authorization: string | undefined,
  body: Readonly<Record<string, unknown>>,
  clients: Clients,
): Promise<AuthenticatedClient> {
  const credentials = readCredentials(authorization, body);
  const client = await clients.find(credentials.clientId);
  if (client === undefined)
    throw invalidClient(
      "This client is not registered here, or its registration expired: register again.",
      "unknown_client",
    );
  if (credentials.method !== client.token_endpoint_auth_method)
    throw invalidClient(
      `This client is registered with token_endpoint_auth_method ${client.token_endpoint_auth_method} but used ${credentials.method}.`,
      "wrong_auth_method",
    );
  if (client.secretHash !== undefined && !matchesHash(credentials.secret ?? "", client.secretHash))
    throw invalidClient("The client secret is wrong.", "wrong_client_secret");
  return client as AuthenticatedClient;
}

function readCredentials(
  authorization: string | undefined,
  body: Readonly<Record<string, unknown>>,
): Credentials {
  const { client_id: clientId, client_secret: secret } = parse(ClientCredentials, body);
  if (authorization !== undefined) return readBasic(authorization, clientId, secret);
  if (clientId === undefined)
    throw new OAuthError(
      "invalid_client",
      "No client identified itself: send client_id, or HTTP Basic credentials.",
      {
        reason: "no_client_id",
      },
    );
  return secret !== undefined
    ? { method: "client_secret_post", clientId, secret }
    : { method: "none", clientId };
}

/** HTTP Basic, with both halves form-encoded as RFC 6749 §2.3.1 asks. */
function readBasic(
  authorization: string,
  bodyClientId: string | undefined,
  bodySecret: string | undefined,
): Credentials {
  const encoded = /^Basic +([A-Za-z0-9+/_-]+=*) *$/i.exec(authorization)?.[1];
  const [, id, secret] = /^([^:]*):(.*)$/s.exec(Buffer.from(encoded ?? "", "base64").toString("utf8")) ?? [];
  if (id === undefined || secret === undefined)
    throw invalidClient("The Authorization header is not valid HTTP Basic.", "malformed_basic");
  const clientId = formDecode(id);
  // RFC 6749 §2.3: one method per request.
  if (bodySecret !== undefined || (bodyClientId !== undefined && bodyClientId !== clientId))
    throw new OAuthError("invalid_request", "Credentials were sent in the header and in the body: use one.", {
      reason: "two_auth_methods",
    });
  return { method: "client_secret_basic", clientId, secret: formDecode(secret) };
}

function formDecode(value: string): string {
  try {
    return decodeURIComponent(value.replaceAll("+", " "));
  } catch {
    throw invalidClient("The HTTP Basic credentials are not percent-encoded correctly.", "malformed_basic");
  }
}

function invalidClient(description: string, reason: string): OAuthError {
  return new OAuthError("invalid_client", description, { reason });
}
