/** Who is calling the token and revocation endpoints (RFC 6749 §2.3). */

import type { Client } from "../oauth/client-metadata.ts";
import { OAuthError } from "../oauth/errors.ts";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import { ClientCredentials, parse } from "../oauth/requests.ts";
import { sha256 } from "../oauth/sha256.ts";
import { claimedClientId } from "./client-assertion.ts";
import type { Clients } from "./find-client.ts";
import { atTokenEndpoint } from "./metadata-documents/client-id-metadata.ts";
import type { DocumentRequester } from "./metadata-documents/document-cache.ts";
import { matchesHash } from "./register.ts";

declare const proof: unique symbol;

/** A client that proved who it is by the method it registered; only `authenticateClient` makes one. */
export type AuthenticatedClient = Client & {
  readonly [proof]: true;
  /** With what it proved that; absent: nothing. See {@link isCurrentCredential}. */
  readonly credential?: string;
};

type Credentials = { clientId: string } & (
  | { method: "none" }
  | { method: "client_secret_basic" | "client_secret_post"; secret: string }
  | { method: "private_key_jwt"; assertion: string; assertionType: string | undefined }
);

export interface ClientAuthentication {
  clients: Clients;
  /** Checks a signed assertion of a client. */
  verifyAssertion(
    assertion: string,
    assertionType: string | undefined,
    client: Client,
    requester: DocumentRequester,
  ): Promise<void>;
}

/**
 * @param requesterFor on whose behalf the client's document and keys are fetched, if it has any
 * @throws OAuthError `invalid_client`: 401 also for an unknown client, so that it registers again instead of giving
 * up (RFC 6749 §5.2); UnavailableError if its metadata or keys cannot be fetched now
 */
export async function authenticateClient(
  authorization: string | undefined,
  body: unknown,
  { clients, verifyAssertion }: ClientAuthentication,
  requesterFor: (clientId: string) => DocumentRequester,
): Promise<AuthenticatedClient> {
  const credentials = readCredentials(authorization, parse(ClientCredentials, body));
  const requester = requesterFor(credentials.clientId);
  const client = await findClient(credentials.clientId, clients, requester);
  if (!mayUse(credentials.method, client))
    throw invalidClient(
      `This client is registered with token_endpoint_auth_method ${client.token_endpoint_auth_method} but used ${credentials.method}.`,
      "wrong_auth_method",
    );
  if ("secret" in credentials) {
    const [hash] = secretsOf(client).filter((each) => matchesHash(credentials.secret, each));
    if (hash === undefined) throw invalidClient("The client secret is wrong.", "wrong_client_secret");
    return proven(client, ofSecret(hash));
  }
  if ("assertion" in credentials) {
    await verifyAssertion(credentials.assertion, credentials.assertionType, client, requester);
    return proven(client, ofKeys(client));
  }
  return client as AuthenticatedClient;
}

function proven(client: Client, credential: string): AuthenticatedClient {
  return { ...client, credential } as AuthenticatedClient;
}

/** Whether a client would be accepted today by what it proved who it is with: its operator may have taken that back. */
export function isCurrentCredential(credential: string, client: Client): boolean {
  return [...secretsOf(client).map(ofSecret), ofKeys(client)].includes(credential);
}

function secretsOf({ secretHash, otherSecretHash }: Client): string[] {
  return [secretHash, otherSecretHash].filter((hash) => hash !== undefined);
}

/** Hashed again: it is stored with what was issued for it. */
function ofSecret(secretHash: string): string {
  return `secret:${sha256(secretHash)}`;
}

/** All keys together: which of them signed does not matter, because all are the operator's to remove. */
function ofKeys({ jwks, jwks_uri }: Client): string {
  return `keys:${sha256(JSON.stringify([jwks, jwks_uri]))}`;
}

/** If no method was registered, the client's library chooses: the secret is accepted in the header and in the body. */
function mayUse(method: Credentials["method"], client: Client): boolean {
  const { token_endpoint_auth_method: registered, basicChosen } = client;
  if (method === registered) return true;
  return method === "client_secret_post" && registered === "client_secret_basic" && basicChosen !== true;
}

async function findClient(clientId: string, clients: Clients, requester: DocumentRequester): Promise<Client> {
  try {
    const client = await clients.find(clientId, requester);
    if (client !== undefined) return client;
  } catch (error) {
    throw atTokenEndpoint(error);
  }
  throw invalidClient(
    "This client is not registered here, or its registration expired: register again.",
    "unknown_client",
  );
}

/** Whether a request says which client it is from, in whatever way. */
export function namesClient(authorization: string | undefined, body: unknown): boolean {
  const { client_id, client_secret, client_assertion } = parse(ClientCredentials, body);
  return [authorization, client_id, client_secret, client_assertion].some((part) => part !== undefined);
}

export function noClient(): OAuthError {
  return invalidClient(
    "No client identified itself: send client_id, or HTTP Basic credentials.",
    "no_client_id",
  );
}

/** RFC 6749 §2.3: one method per request. */
function readCredentials(authorization: string | undefined, body: ClientCredentials): Credentials {
  const { client_assertion: assertion, client_assertion_type: assertionType, client_secret: secret } = body;
  const methods = [authorization, assertion, secret].filter((credential) => credential !== undefined);
  if (methods.length > 1)
    throw new OAuthError("invalid_request", "Credentials were sent in more than one way: use one.", {
      reason: "two_auth_methods",
    });
  if (authorization !== undefined) return readBasic(authorization, body.client_id);
  const clientId = body.client_id ?? (assertion && claimedClientId(assertion));
  if (clientId === undefined) throw noClient();
  if (assertion !== undefined) return { method: "private_key_jwt", clientId, assertion, assertionType };
  return secret !== undefined
    ? { method: "client_secret_post", clientId, secret }
    : { method: "none", clientId };
}

/** HTTP Basic, with both halves form-encoded as RFC 6749 §2.3.1 asks. */
function readBasic(authorization: string, bodyClientId: string | undefined): Credentials {
  const encoded = /^Basic +([A-Za-z0-9+/_-]+=*) *$/i.exec(authorization)?.[1];
  const [, id, secret] = /^([^:]*):(.*)$/s.exec(Buffer.from(encoded ?? "", "base64").toString("utf8")) ?? [];
  if (id === undefined || secret === undefined)
    throw invalidClient("The Authorization header is not valid HTTP Basic.", "malformed_basic");
  const clientId = formDecode(id);
  if (bodyClientId !== undefined && bodyClientId !== clientId)
    throw new OAuthError("invalid_request", "The header and the body name different clients: use one.", {
      reason: "two_auth_methods",
    });
  // RFC 6749 §2.3.1: an empty secret is one that was left out. Some libraries send the header for public clients, too.
  if (secret === "") return { method: "none", clientId };
  return { method: "client_secret_basic", clientId, secret: formDecode(secret) };
}

function formDecode(value: string): string {
  try {
    return decodeURIComponent(value.replaceAll("+", " "));
  } catch {
    throw invalidClient("The HTTP Basic credentials are not percent-encoded correctly.", "malformed_basic");
  }
}

function invalidClient(description: string, reason: ReasonCode): OAuthError {
  return new OAuthError("invalid_client", description, { reason });
}
