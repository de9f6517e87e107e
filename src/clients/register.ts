/** Dynamic client registration (RFC 7591) and its management by the client itself (RFC 7592). */

import type { Audit } from "../audit/audit.ts";
import {
  type Client,
  type ClientMetadata,
  parseClientMetadata,
  type RegistrationRules,
} from "../oauth/client-metadata.ts";
import { isEqualInConstantTime } from "../oauth/constant-time.ts";
import { OAuthError } from "../oauth/errors.ts";
import { randomId } from "../oauth/random-id.ts";
import { sha256 } from "../oauth/sha256.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Clients } from "./find-client.ts";

/** The answer to a registration (RFC 7591 §3.2.1, RFC 7592 §3): all metadata as registered, after defaults. */
export type ClientInformation = ClientMetadata & {
  client_id: string;
  client_id_issued_at: number;
  client_secret?: string;
  client_secret_expires_at?: number;
  registration_access_token: string;
  registration_client_uri: string;
};

export interface Registrations {
  /**
   * @param from the address that asks
   * @throws OAuthError `invalid_redirect_uri` or `invalid_client_metadata`; TooManyRequestsError
   */
  register(body: unknown, from: string): Promise<ClientInformation>;
  /** @throws OAuthError `invalid_token` */
  read(clientId: string, registrationToken: string): Promise<ClientInformation>;
  /** @throws as {@link register}; OAuthError `invalid_token` */
  update(
    clientId: string,
    registrationToken: string,
    body: unknown,
    from: string,
  ): Promise<ClientInformation>;
  /**
   * @throws OAuthError `invalid_token`; UnavailableError if it is not finished: to be called again, until which the client
   * is known to nobody
   */
  remove(clientId: string, registrationToken: string): Promise<void>;
}

const SECRET_BYTES = 32;

interface Dependencies {
  clients: Clients;
  rules: RegistrationRules;
  baseUrl: string;
  /**
   * Called before a registration is written, with what is to be written, so that a refused request uses up no budget.
   * @throws TooManyRequestsError
   */
  spend(client: Client, from: string): Promise<void>;
  /** Ends every grant that a client holds. */
  endGrantsOf(clientId: string): Promise<unknown>;
  audit: Audit;
}

export function createRegistrations({
  clients,
  rules,
  baseUrl,
  spend,
  endGrantsOf,
  now,
  randomBytes,
  audit,
}: Runtime & Dependencies): Registrations {
  const newSecret = () => randomBytes(SECRET_BYTES).toString("base64url");

  async function managed(
    clientId: string,
    registrationToken: string,
    find: (clientId: string) => Promise<Client | undefined> = clients.find,
  ): Promise<Client> {
    const client = await find(clientId);
    if (
      client?.registrationTokenHash !== undefined &&
      matchesHash(registrationToken, client.registrationTokenHash)
    )
      return client;
    throw new OAuthError("invalid_token", "The registration access token is not one of this client.", {
      reason: "wrong_registration_token",
    });
  }

  return {
    async register(body, from) {
      const metadata = parseClientMetadata(body, rules);
      const registrationToken = newSecret();
      const { client, secret } = withSecret(
        {
          client_id: randomId(randomBytes),
          client_id_issued_at: now(),
          ...metadata,
          registrationTokenHash: sha256(registrationToken),
          provenance: "registered",
          usedAt: 0,
        },
        newSecret,
      );
      await spend(client, from);
      await clients.add(client);
      audit({ event: "client_registered", decision: "allow", ...auditOf(client) });
      return information(client, baseUrl, registrationToken, secret);
    },
    read: async (clientId, registrationToken) =>
      information(await managed(clientId, registrationToken), baseUrl, registrationToken),
    async update(clientId, registrationToken, body, from) {
      const known = await managed(clientId, registrationToken);
      if (isNamed(body) && body.client_id !== clientId)
        throw new OAuthError(
          "invalid_client_metadata",
          "The client_id is not the one of this registration.",
          {
            reason: "client_id_mismatch",
          },
        );
      // RFC 7592 §2.2: the metadata are replaced; credentials that we issued stay.
      const { client_id_issued_at, registrationTokenHash, provenance, usedAt, secretHash } = known;
      const kept = {
        client_id: clientId,
        client_id_issued_at,
        registrationTokenHash,
        provenance,
        usedAt,
        secretHash,
      };
      const { client, secret } = withSecret(
        definedOnly({ ...parseClientMetadata(body, rules), ...kept }),
        newSecret,
      );
      await spend(client, from);
      await clients.change(client);
      audit({ event: "client_changed", decision: "allow", ...auditOf(client) });
      return information(client, baseUrl, registrationToken, secret);
    },
    async remove(clientId, registrationToken) {
      const client = await managed(clientId, registrationToken, clients.findRegistration);
      // RFC 7592 §2.3. The registration is removed last, so that the request can be repeated until then.
      await clients.remove(client, () => endGrantsOf(clientId));
      audit({ event: "client_removed", decision: "revoke", clientId });
    },
  };
}

function auditOf({ client_id, client_name, redirect_uris }: Client) {
  return { clientId: client_id, clientName: client_name, redirectUris: redirect_uris };
}

function isNamed(body: unknown): body is { client_id: unknown } {
  return typeof body === "object" && body !== null && "client_id" in body;
}

/** Gives a secret to a client that needs one and has none, and takes it from one that is public. */
function withSecret(client: Client, newSecret: () => string): { client: Client; secret?: string } {
  const { secretHash, ...rest } = client;
  if (client.token_endpoint_auth_method === "none") return { client: rest };
  if (secretHash !== undefined) return { client };
  const secret = newSecret();
  return { client: { ...rest, secretHash: sha256(secret) }, secret };
}

/** Only the hash of the token is stored; who asks has just shown the token itself. */
function information(
  client: Client,
  baseUrl: string,
  registrationToken: string,
  secret?: string,
): ClientInformation {
  const { secretHash, basicChosen, registrationTokenHash, provenance, usedAt, removing, ...metadata } =
    client;
  return {
    ...metadata,
    ...(secret !== undefined && { client_secret: secret, client_secret_expires_at: 0 }),
    registration_client_uri: `${baseUrl}/register/${client.client_id}`,
    registration_access_token: registrationToken,
  };
}

function definedOnly(client: { [K in keyof Client]: Client[K] | undefined }): Client {
  return Object.fromEntries(Object.entries(client).filter(([, value]) => value !== undefined)) as Client;
}

/** True if `hash` is the SHA-256 of `secret`; compared in constant time. */
export function matchesHash(secret: string, hash: string): boolean {
  return isEqualInConstantTime(sha256(secret), hash);
}
