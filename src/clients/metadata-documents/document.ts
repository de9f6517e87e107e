/** What a client ID metadata document may say (draft-ietf-oauth-client-id-metadata-document-03 §4), checked. */

import type { JSONWebKeySet } from "jose";
import {
  type ClientMetadata,
  parseClientMetadata,
  type RegistrationRules,
} from "../../oauth/client-metadata.ts";
import { type ErrorDetail, OAuthError } from "../../oauth/errors.ts";
import { parseJson } from "../../oauth/json.ts";
import { ASYMMETRIC_ALGORITHMS } from "../../oauth/jwt.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import { parseJwks } from "./jwks.ts";

/** A client as its metadata document describes it. */
export type DocumentClient = Omit<ClientMetadata, "token_endpoint_auth_method"> & {
  client_id: string;
  /** When this copy of the document was fetched. */
  client_id_issued_at: number;
  usedAt: number;
  provenance: "document";
  client_name: string;
  token_endpoint_auth_method: "none" | "private_key_jwt";
  /** With `private_key_jwt`: one of the two. */
  jwks?: JSONWebKeySet;
  jwks_uri?: string;
  /** The only algorithm that its assertions may use, if it named one. */
  token_endpoint_auth_signing_alg?: string;
};

/** A document that cannot be used. For the authorization page it is a 400, or what `status` says; see {@link atTokenEndpoint}. */
export class ClientMetadataError extends OAuthError {
  /** True if the document may well be there and fine, and only could not be fetched now. */
  readonly temporary: boolean;

  constructor(description: string, detail: ErrorDetail & { temporary?: boolean }) {
    super("invalid_client", description, { status: 400, ...detail });
    this.temporary = detail.temporary ?? false;
  }
}

/**
 * Checks a document (§4).
 * @throws ClientMetadataError saying what is wrong with it
 */
export function parseClientIdMetadata(
  body: string,
  clientId: string,
  rules: RegistrationRules,
  now: number,
): DocumentClient {
  const refuse = (why: string, reason: ReasonCode) => unusable(clientId, why, reason);
  const document = parseJson(body);
  if (!isObject(document)) throw refuse("it is not a JSON object", "document_not_an_object");
  // §4: simple string comparison; otherwise one site could speak for another's client.
  if (document.client_id !== clientId) throw refuse("it names another client_id", "client_id_mismatch");
  const name = document.client_name;
  if (typeof name !== "string" || name.trim() === "") throw refuse("it has no client_name", "no_client_name");
  const uris = document.redirect_uris;
  if (uris === undefined || (Array.isArray(uris) && uris.length === 0))
    throw refuse("it has no redirect_uris", "no_redirect_uris");
  const authentication = parseAuthentication(document, refuse);
  const { grant_types, response_types, application_type, scope, redirect_uris } = document;
  const origin = new URL(clientId).origin;
  try {
    const metadata = parseClientMetadata(
      {
        ...{ client_name: name, redirect_uris, grant_types, response_types, application_type, scope },
        // Only the document's own host is verified: a link or a logo of another would borrow that one's name.
        client_uri: ifOfOrigin(document.client_uri, origin),
        logo_uri: ifOfOrigin(document.logo_uri, origin),
        token_endpoint_auth_method: "none",
      },
      rules,
    );
    if (metadata.client_name === undefined)
      throw refuse("it has no client_name that can be read", "no_client_name");
    return {
      ...metadata,
      ...authentication,
      client_id: clientId,
      client_id_issued_at: now,
      usedAt: now,
      provenance: "document",
      client_name: metadata.client_name,
    };
  } catch (error) {
    if (!(error instanceof OAuthError)) throw error;
    throw refuse(lowerFirst(error.message), error.reason);
  }
}

type Refuse = (why: string, reason: ReasonCode) => ClientMetadataError;
type Document = Record<string, unknown>;
type Authentication = Pick<
  DocumentClient,
  "token_endpoint_auth_method" | "jwks" | "jwks_uri" | "token_endpoint_auth_signing_alg"
>;

/** §4.1: no secret can be shared through a public document; `none` or a key pair. */
function parseAuthentication(document: Document, refuse: Refuse): Authentication {
  const method = document.token_endpoint_auth_method ?? "none";
  if (isPresent(document.client_secret) || isPresent(document.client_secret_expires_at))
    throw refuse("it contains a client_secret, which everybody can read there", "shared_secret");
  if (typeof method === "string" && method.startsWith("client_secret_"))
    throw refuse("its token_endpoint_auth_method needs a shared secret", "shared_secret");
  const keys = parseKeys(document, refuse);
  if (method === "none") return { token_endpoint_auth_method: method };
  if (method !== "private_key_jwt")
    throw refuse(
      "its token_endpoint_auth_method is neither none nor private_key_jwt",
      "unsupported_auth_method",
    );
  if (keys.jwks === undefined && keys.jwks_uri === undefined)
    throw refuse("it uses private_key_jwt without jwks or jwks_uri", "no_keys");
  const algorithm = document.token_endpoint_auth_signing_alg;
  if (!isPresent(algorithm)) return { token_endpoint_auth_method: method, ...keys };
  if (typeof algorithm !== "string" || !ASYMMETRIC_ALGORITHMS.includes(algorithm))
    throw refuse(
      `its token_endpoint_auth_signing_alg is none of ${ASYMMETRIC_ALGORITHMS.join(", ")}`,
      "unsupported_signing_alg",
    );
  return { token_endpoint_auth_method: method, token_endpoint_auth_signing_alg: algorithm, ...keys };
}

function parseKeys({ jwks, jwks_uri }: Document, refuse: Refuse): Pick<Authentication, "jwks" | "jwks_uri"> {
  // RFC 7591 §2.
  if (isPresent(jwks) && isPresent(jwks_uri))
    throw refuse("it has both jwks and jwks_uri", "two_key_sources");
  if (isPresent(jwks)) {
    const result = parseJwks(jwks);
    if ("problem" in result) throw refuse(`its jwks ${result.problem}`, "invalid_jwks");
    return result;
  }
  if (!isPresent(jwks_uri)) return {};
  if (typeof jwks_uri !== "string" || !URL.canParse(jwks_uri) || new URL(jwks_uri).protocol !== "https:")
    throw refuse("its jwks_uri is not an https URL", "invalid_jwks_uri");
  return { jwks_uri };
}

function ifOfOrigin(uri: unknown, origin: string): string | undefined {
  return typeof uri === "string" && URL.canParse(uri) && new URL(uri).origin === origin ? uri : undefined;
}

/** The error of a document at `clientId`, in words for whoever sees the page. */
export function unusable(
  clientId: string,
  why: string,
  reason: ReasonCode,
  detail: { temporary?: boolean; cause?: unknown } = {},
): ClientMetadataError {
  const description = `The application's metadata document at ${clientId.slice(0, 200)} could not be used: ${plainText(why)}.`;
  return new ClientMetadataError(description, { reason, ...detail });
}

/** Without what RFC 6749 §5.2 does not allow in a description. */
function plainText(why: string): string {
  return why.replace(/\.$/, "").replaceAll('"', "'");
}

function isObject(value: unknown): value is Document {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Some documents write null for what they leave out. */
function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function lowerFirst(sentence: string): string {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1);
}
