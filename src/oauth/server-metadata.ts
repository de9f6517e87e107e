/** The two metadata documents that lead a client from a 401 to a token (RFC 9728, RFC 8414). */
import { AUTH_METHODS, DEFAULT_GRANT_TYPES } from "./client-metadata.ts";

export interface MetadataSettings {
  /** The public base URL without a trailing slash: the issuer, byte for byte. */
  issuer: string;
  /** The protected resources that tokens are issued for. */
  resources: readonly string[];
  /** Every scope, in the order of declaration. */
  scopes: readonly string[];
  /** Client ID Metadata Documents are accepted; with them, clients may sign instead of sharing a secret. */
  clientIdMetadata: boolean;
  /** A client that the operator configured signs, too. */
  configuredClientsSign: boolean;
  /** The names of the grant types that are offered. Default: those that a client has without asking. */
  grantTypes?: readonly string[];
  assertionAlgorithms: readonly string[];
  /** Identity assertions (ID-JAG) of some issuer are accepted; of which is not said. */
  identityAssertions: boolean;
}

export interface ResourceMetadataSettings {
  issuer: string;
  resource: string;
  /** Those that basic use needs: what a client should ask for at first. */
  usualScopes: readonly string[];
  name: string;
}

/** Where the protected resource metadata lives (RFC 9728 §3.1). */
export const resourceMetadataUrl = (resource: string): string =>
  wellKnown("oauth-protected-resource", resource);

/** Where the authorization server's lives (RFC 8414 §3.1). */
export const authorizationServerMetadataUrl = (issuer: string): string =>
  wellKnown("oauth-authorization-server", issuer);

/** Inserted before the path. */
function wellKnown(name: string, url: string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}/.well-known/${name}${pathname === "/" ? "" : pathname}`;
}

/**
 * RFC 9728 §2. `offline_access` is the authorization server's business and is not named here; what would be an empty list is
 * left out (§3.2).
 */
export function protectedResourceMetadata({ issuer, resource, usualScopes, name }: ResourceMetadataSettings) {
  return {
    resource,
    authorization_servers: [issuer],
    ...(usualScopes.length > 0 && { scopes_supported: usualScopes }),
    bearer_methods_supported: ["header"],
    resource_name: name,
  };
}

/** RFC 8414 §2, with RFC 9207's `iss` parameter announced. */
export function authorizationServerMetadata(settings: MetadataSettings) {
  const { issuer, scopes, resources, clientIdMetadata, assertionAlgorithms } = settings;
  const { grantTypes = DEFAULT_GRANT_TYPES } = settings;
  const clientsSign = clientIdMetadata || settings.configuredClientsSign;
  const authMethods = clientsSign ? [...AUTH_METHODS, "private_key_jwt"] : AUTH_METHODS;
  return {
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    registration_endpoint: `${issuer}/register`,
    revocation_endpoint: `${issuer}/revoke`,
    scopes_supported: [...scopes, "offline_access"],
    response_types_supported: ["code"],
    response_modes_supported: ["query"],
    grant_types_supported: grantTypes,
    ...(settings.identityAssertions && {
      authorization_grant_profiles_supported: ["urn:ietf:params:oauth:grant-profile:id-jag"],
    }),
    token_endpoint_auth_methods_supported: authMethods,
    revocation_endpoint_auth_methods_supported: authMethods,
    introspection_endpoint: `${issuer}/introspect`,
    introspection_endpoint_auth_methods_supported: authMethods.filter((method) => method !== "none"),
    ...(clientIdMetadata && { client_id_metadata_document_supported: true }),
    ...(clientsSign && {
      token_endpoint_auth_signing_alg_values_supported: assertionAlgorithms,
      revocation_endpoint_auth_signing_alg_values_supported: assertionAlgorithms,
      introspection_endpoint_auth_signing_alg_values_supported: assertionAlgorithms,
    }),
    code_challenge_methods_supported: ["S256"],
    authorization_response_iss_parameter_supported: true,
    protected_resources: resources,
  };
}

/**
 * OpenID Connect Discovery 1.0 §3, for clients that look at its location only: whatever is served there has to parse as what
 * it claims to be. The three members more are REQUIRED by §3. No ID token is issued here: the keys are those by which backends
 * recognize what this server tells them (resource/identity-keys.ts), and RS256 is what §3 demands in the list.
 */
export function openIdProviderMetadata(settings: MetadataSettings) {
  return {
    ...authorizationServerMetadata(settings),
    jwks_uri: `${settings.issuer}${JWKS_PATH}`,
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: ["RS256"],
  };
}

export const JWKS_PATH = "/.well-known/jwks.json";
