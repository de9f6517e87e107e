/** POST /register: dynamic client registration (RFC 7591). */
import { createHash } from "node:crypto";
import { type Client, parseClientMetadata } from "../oauth/client-metadata.ts";
import type { Surroundings } from "../surroundings.ts";
import type { Clients } from "./find-client.ts";

/** The answer to a registration (RFC 7591 §3.2.1): all metadata as registered, after defaults. */
export type ClientInformation = Omit<Client, "secretHash"> & {
  client_secret?: string;
  client_secret_expires_at?: number;
};

/**
 * Registers a client and tells it what it was given, above all which authentication method.
 * @throws OAuthError `invalid_redirect_uri` or `invalid_client_metadata`.
 */
export async function registerClient(
  body: unknown,
  { clients, now, randomBytes, log }: Surroundings & { clients: Clients },
): Promise<ClientInformation> {
  const metadata = parseClientMetadata(body);
  const information = {
    client_id: randomBytes(16).toString("base64url"),
    client_id_issued_at: now(),
    ...metadata,
  };
  if (metadata.token_endpoint_auth_method === "none") {
    await clients.keep(information);
  } else {
    const secret = randomBytes(32).toString("base64url");
    await clients.keep({ ...information, secretHash: hashClientSecret(secret) });
    Object.assign(information, { client_secret: secret, client_secret_expires_at: 0 });
  }
  log.info(
    {
      clientId: information.client_id,
      clientName: metadata.client_name,
      redirectUris: metadata.redirect_uris,
    },
    "Client registered",
  );
  return information;
}

export function hashClientSecret(secret: string): string {
  return createHash("sha256").update(secret).digest("base64url");
}
