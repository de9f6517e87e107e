/** GET /authorize: validates an authorization request before the user is asked (OAuth 2.1 §4.1.1, RFC 7636, RFC 8707). */

import type { Clients } from "../clients/find-client.ts";
import type { DocumentRequester } from "../clients/metadata-documents/document-cache.ts";
import type { AuthorizationRequest } from "../login/transaction.ts";
import type { Client } from "../oauth/client-metadata.ts";
import {
  AuthorizationError,
  OAuthError,
  type OAuthErrorCode,
  UntrustedRedirectError,
} from "../oauth/errors.ts";
import { CodeChallenge } from "../oauth/pkce.ts";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import {
  matchRedirectUri,
  type RedirectUriPolicy,
  type ValidatedRedirectUri,
} from "../oauth/redirect-uri.ts";
import { AuthorizeParameters, ClientAndRedirect, parse } from "../oauth/requests.ts";
import { intersect, parseRequestedScope, parseScope } from "../oauth/scope.ts";
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";
import { type ProtectedResources, requestedResource } from "../resource/protected-resource.ts";
import type { RedirectTrust } from "./trusted-redirect.ts";

export interface AuthorizeRules {
  clients: Clients;
  redirectUris: RedirectUriPolicy;
  isTrusted: RedirectTrust;
  /** Our own client ids at identity providers, which users enter by mistake. */
  upstreamClientIds: readonly string[];
  resources: ProtectedResources;
}

/**
 * Validates an authorization request.
 * @param requester on whose behalf the client's document is looked up, if it has one
 * @throws OAuthError while the redirect URI is not established, AuthorizationError after that (RFC 6749 §4.1.2.1)
 */
export async function validateAuthorizationRequest(
  sent: unknown,
  rules: AuthorizeRules,
  requester: DocumentRequester,
): Promise<{ client: Client; request: AuthorizationRequest; prompt: string | undefined }> {
  const { client_id, redirect_uri } = parse(ClientAndRedirect, pick(sent, ["client_id", "redirect_uri"]), []);
  const client = await findClient(client_id, rules, requester);
  const redirectUri = chooseRedirectUri(client, redirect_uri, rules.redirectUris);
  const Refusal = unaskedRefusal(client, redirectUri, rules);
  const parameters = parseForClient(sent, redirectUri, Refusal);
  const refuse = (code: OAuthErrorCode, description: string, reason: ReasonCode) =>
    new Refusal(code, description, { redirectUri, state: parameters.state }, { reason });

  if (parameters.request !== undefined)
    throw refuse("request_not_supported", "Request objects are not supported.", "request_object");
  if (parameters.request_uri !== undefined)
    throw refuse("request_uri_not_supported", "Request objects are not supported.", "request_object");
  if (parameters.response_type === undefined)
    throw refuse(
      "invalid_request",
      "The parameter response_type is missing: use code.",
      "missing_response_type",
    );
  if (parameters.response_type !== "code")
    throw refuse(
      "unsupported_response_type",
      "Only response_type=code is supported.",
      "unsupported_response_type",
    );
  if (parameters.response_mode !== undefined && parameters.response_mode !== "query")
    throw refuse("invalid_request", "Only response_mode=query is supported.", "unsupported_response_mode");
  if (parameters.code_challenge === undefined)
    throw refuse(
      "invalid_request",
      "PKCE is required: send code_challenge with code_challenge_method=S256.",
      "missing_pkce",
    );
  // RFC 7636 §4.3: without a method it would mean "plain", which protects nothing.
  if (
    parameters.code_challenge_method !== "S256" ||
    !CodeChallenge.safeParse(parameters.code_challenge).success
  )
    throw refuse(
      "invalid_request",
      "PKCE must use code_challenge_method=S256 with a SHA-256 challenge.",
      "unsupported_pkce",
    );
  const asked = parseScope(parameters.scope ?? client.scope ?? "") ?? [];
  const resource = requestedResource(parameters.resource, asked, rules.resources);
  if (resource === "ambiguous")
    throw refuse(
      "invalid_target",
      `This server protects ${inWords(rules.resources)}: name one of them in the parameter resource.`,
      "ambiguous_resource",
    );
  if (resource === undefined)
    throw refuse(
      "invalid_target",
      `This server protects ${inWords(rules.resources)} only, and a sign-in is for one resource.`,
      "foreign_resource",
    );
  const requested = requestedScopes(parameters.scope, client, resource.scopes);
  if (requested === "malformed")
    throw refuse("invalid_scope", "The scope has illegal characters.", "malformed_scope");
  if (requested === "not_allowed")
    throw refuse("invalid_scope", `This client may ask for: ${client.scope}`, "scope_not_allowed");

  const state = parameters.state === undefined ? {} : { state: parameters.state };
  const { max_age: maxAge, acr_values: acrValues = [] } = parameters;
  const authentication = {
    ...(maxAge !== undefined && { maxAge }),
    ...(acrValues.length > 0 && { acrValues }),
  };
  const clientName = client.client_name === undefined ? {} : { clientName: client.client_name };
  return {
    client,
    prompt: parameters.prompt,
    request: {
      clientId: client.client_id,
      ...clientName,
      redirectUri,
      ...state,
      codeChallenge: parameters.code_challenge,
      resource: resource.uri,
      scopes: requested,
      ...(Object.keys(authentication).length > 0 && { authentication }),
    },
  };
}

function inWords(resources: ProtectedResources): string {
  return new Intl.ListFormat("en-GB").format(resources.map(({ uri }) => `the resource ${uri}`));
}

/** The error of a request before consent: redirected to the client, or shown on a page. */
export function unaskedRefusal(
  client: Client,
  redirectUri: ValidatedRedirectUri,
  { isTrusted }: Pick<AuthorizeRules, "isTrusted">,
): typeof AuthorizationError {
  return isTrusted(client, redirectUri) ? AuthorizationError : UntrustedRedirectError;
}

/** From here on errors can be redirected to the client; with its `state`, unless that is invalid. */
function parseForClient(
  sent: unknown,
  redirectUri: ValidatedRedirectUri,
  Refusal: typeof AuthorizationError,
): AuthorizeParameters {
  try {
    return parse(AuthorizeParameters, sent);
  } catch (error) {
    if (!(error instanceof OAuthError)) throw error;
    const { state } = pick(sent, ["state"]);
    const to = { redirectUri, state: typeof state === "string" && state.length <= 4096 ? state : undefined };
    throw new Refusal(error.code, error.message, to, { reason: error.reason });
  }
}

function pick(sent: unknown, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(sent ?? {}).filter(([name]) => names.includes(name)));
}

async function findClient(
  clientId: string | undefined,
  { clients, upstreamClientIds }: AuthorizeRules,
  requester: DocumentRequester,
): Promise<Client> {
  if (clientId === undefined)
    throw new OAuthError("invalid_request", "The parameter client_id is missing.", {
      reason: "no_client_id",
    });
  const client = await clients.find(clientId, requester);
  if (client !== undefined) return client;
  if (upstreamClientIds.includes(clientId))
    throw new OAuthError(
      "invalid_client",
      "This is the client id by which this server itself signs in at the identity provider. Leave the client id empty in your application: it registers itself here.",
      { reason: "upstream_client_id", status: 400 },
    );
  throw new OAuthError(
    "invalid_client",
    "This application is not registered here: it was registered elsewhere, or its registration expired. Remove this server in your application and add it again.",
    { reason: "unknown_client", status: 400 },
  );
}

function chooseRedirectUri(
  client: Client,
  requested: string | undefined,
  policy: RedirectUriPolicy,
): ValidatedRedirectUri {
  const by = client.provenance === "configured" ? "operator" : "client";
  const redirectUri = matchRedirectUri(client.redirect_uris, requested, (uri) => policy(uri, by));
  if (redirectUri !== undefined) return redirectUri;
  throw requested === undefined
    ? new OAuthError(
        "invalid_request",
        "The parameter redirect_uri is missing, and the application registered several.",
        {
          reason: "no_redirect_uri",
        },
      )
    : new OAuthError(
        "invalid_request",
        "The redirect_uri is not one that this application registered. Nothing was sent there.",
        { reason: "unregistered_redirect_uri" },
      );
}

/**
 * Without a scope parameter the default scopes are asked for; so they are if every scope in it is unknown (RFC 6749 §3.3): the
 * token response names what was granted. The operator restricts clients of the configuration by their `scope`; what others
 * registered is a wish only.
 */
function requestedScopes(
  scope: string | undefined,
  client: Client,
  catalogue: ScopeCatalogue,
): string[] | "malformed" | "not_allowed" {
  const isRestricted = client.provenance === "configured" && client.scope !== undefined;
  const allowed = isRestricted ? (client.scope ?? "").split(" ") : catalogue.names;
  const asked = parseRequestedScope(scope ?? "");
  if (asked === undefined) return "malformed";
  const known = intersect(asked, catalogue.names);
  if (known.length === 0) return catalogue.limitTo(catalogue.defaultScopes, allowed);
  const permitted = catalogue.limitTo(known, allowed);
  return permitted.length === 0 ? "not_allowed" : permitted;
}
