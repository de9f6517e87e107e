/** Client metadata (RFC 7591 §2, OpenID Connect Registration §2): what a client says of itself, checked. */

import type { JSONWebKeySet } from "jose";
import { z } from "zod";
import { OAuthError } from "./errors.ts";
import { readableName } from "./readable-name.ts";
import type { ReasonCode } from "./reason-codes.ts";
import type { RedirectUriPolicy } from "./redirect-uri.ts";

/** What a client may register; clients with a metadata document may also use `private_key_jwt`. */
export const AUTH_METHODS = ["none", "client_secret_basic", "client_secret_post"] as const;
/** Of a client that names none: what a person's sign-in needs. Whatever else is offered, a client has to ask for. */
export const DEFAULT_GRANT_TYPES: readonly string[] = ["authorization_code", "refresh_token"];
/** RFC 6749 §4.4: for clients that the operator configured. */
export const CLIENT_CREDENTIALS_GRANT = "client_credentials";
/** RFC 7523 §2.1. */
export const JWT_BEARER_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer";

const MAX_REDIRECT_URIS = 20;
/** Of one URI or text, in characters. */
const MAX_LENGTH = 512;
/** Of everything that is kept of a registration, as JSON. */
const MAX_METADATA_BYTES = 8_192;
/** Of a scope: as long as a challenge of ours that a client copied is. */
const MAX_SCOPE_LENGTH = 4_096;

/** A client as this server knows it: the metadata it was registered with, after defaults (RFC 7591 §3.2.1). */
export const Client = z.object({
  client_id: z.string(),
  client_id_issued_at: z.number(),
  // Registrations of earlier versions may have names that hide something.
  client_name: z.string().transform(readableName).optional(),
  client_uri: z.string().optional(),
  logo_uri: z.string().optional(),
  application_type: z.enum(["native", "web"]).optional(),
  redirect_uris: z.array(z.string()),
  grant_types: z.array(z.string()),
  response_types: z.array(z.literal("code")),
  token_endpoint_auth_method: z.enum([...AUTH_METHODS, "private_key_jwt"]),
  /**
   * `client_secret_basic` was asked for and is not RFC 7591's default: the secret is taken in the header alone. Earlier
   * versions do not know this field and drop it, after which their client may send its secret either way.
   */
  basicChosen: z.literal(true).optional(),
  /** Of a client from the configuration: `grant_types` was written there, and is not the default. */
  grantTypesChosen: z.literal(true).optional(),
  /** With `private_key_jwt`: one of the two, and perhaps the only algorithm it uses. */
  jwks: z.custom<JSONWebKeySet>().optional(),
  jwks_uri: z.string().optional(),
  token_endpoint_auth_signing_alg: z.string().optional(),
  scope: z.string().optional(),
  /** SHA-256 of the client secret; a random 256-bit secret needs no slower hash. */
  secretHash: z.string().optional(),
  /** While its operator changes the secret of a configured client, the other one that is good, too. */
  otherSecretHash: z.string().optional(),
  /** SHA-256 of the token that manages this registration (RFC 7592). */
  registrationTokenHash: z.string().optional(),
  /** Who vouches for what the client says of itself: nobody, the operator, or the web site of its metadata document. */
  provenance: z.enum(["registered", "configured", "document"]),
  /** When it was last known to be in use, seconds since the epoch. */
  usedAt: z.number(),
  /** Its registration is being removed: nobody knows it any more but who removes it. */
  removing: z.literal(true).optional(),
});
export type Client = z.infer<typeof Client>;

/** What decides nothing and is empty, odd or too long is left out; the answer shows that (RFC 7591 §2, §3.2.1). */
function informative(length: number) {
  return z.string().min(1).max(length).optional().catch(undefined);
}

/** A link for people: nothing that runs, and nothing relative to a page of ours. */
const WebAddress = informative(MAX_LENGTH).transform((text) => {
  const isWeb = text !== undefined && URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
  return isWeb ? text : undefined;
});

/** What a client may ask to be registered with. Of what else it says, nothing is used or kept. */
const RegistrationRequest = z.object({
  redirect_uris: z.array(z.string()).min(1).max(MAX_REDIRECT_URIS),
  client_name: informative(MAX_LENGTH),
  client_uri: WebAddress,
  logo_uri: WebAddress,
  token_endpoint_auth_method: z.enum(AUTH_METHODS).optional(),
  grant_types: z.array(z.string()).default([...DEFAULT_GRANT_TYPES]),
  response_types: z.array(z.string()).default(["code"]),
  application_type: z.enum(["native", "web"]).optional(),
  // A wish: what a client may really have is decided at /authorize.
  scope: informative(MAX_SCOPE_LENGTH),
});

/** What a client says of itself (RFC 7591 §2). */
export type ClientMetadata = Omit<
  Client,
  | "client_id"
  | "client_id_issued_at"
  | "jwks"
  | "jwks_uri"
  | "token_endpoint_auth_signing_alg"
  | "secretHash"
  | "otherSecretHash"
  | "registrationTokenHash"
  | "provenance"
  | "usedAt"
  | "removing"
>;

/** What this server takes of what a client asks for. */
export interface RegistrationRules {
  redirectUriPolicy: RedirectUriPolicy;
  /** The names of the grant types that are offered. Default: those that a client has without asking. */
  grantTypes?: readonly string[];
}

/**
 * Checks a registration request (RFC 7591 §3.1). Grant types that are not offered are left out (§3.2.1).
 * @throws OAuthError `invalid_redirect_uri` or `invalid_client_metadata`, saying which field and why (§3.2.2).
 */
export function parseClientMetadata(
  body: unknown,
  { redirectUriPolicy, grantTypes = DEFAULT_GRANT_TYPES }: RegistrationRules,
): ClientMetadata {
  const result = RegistrationRequest.safeParse(withoutBlanks(body));
  if (!result.success) throw metadataError(result.error);
  const asked = result.data;
  for (const uri of asked.redirect_uris) refuseBadRedirectUri(uri, asked.application_type, redirectUriPolicy);
  if (!asked.grant_types.includes("authorization_code") || !asked.response_types.includes("code"))
    throw invalidMetadata(
      "This server offers the authorization code grant: register grant_types with authorization_code and response_types with code.",
      "unsupported_grant_type",
    );
  const metadata: ClientMetadata = {
    redirect_uris: asked.redirect_uris,
    grant_types: grantTypes.filter((type) => asked.grant_types.includes(type)),
    response_types: ["code"],
    ...authMethod(asked.token_endpoint_auth_method),
    ...definedOnly({
      client_name: readableName(asked.client_name),
      client_uri: asked.client_uri,
      logo_uri: asked.logo_uri,
      application_type: asked.application_type,
      scope: asked.scope,
    }),
  };
  const bytes = Buffer.byteLength(JSON.stringify(metadata));
  if (bytes > MAX_METADATA_BYTES)
    throw invalidMetadata(
      `The metadata take ${bytes} bytes; at most ${MAX_METADATA_BYTES} are kept.`,
      "metadata_too_large",
    );
  return metadata;
}

/** RFC 7591 §2: the default is `client_secret_basic`, and the response says so (§3.2.1). */
export function authMethod(
  chosen: (typeof AUTH_METHODS)[number] | undefined,
): Pick<Client, "token_endpoint_auth_method" | "basicChosen"> {
  if (chosen === undefined) return { token_endpoint_auth_method: "client_secret_basic" };
  return {
    token_endpoint_auth_method: chosen,
    ...(chosen === "client_secret_basic" && { basicChosen: true }),
  };
}

/** Some clients write null or an empty text for what they leave out. */
function withoutBlanks(body: unknown): unknown {
  if (typeof body !== "object" || body === null || Array.isArray(body)) return body;
  return Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null && value !== ""));
}

function refuseBadRedirectUri(
  uri: string,
  applicationType: string | undefined,
  policy: RedirectUriPolicy,
): void {
  const problem = tooLong(uri) ?? policy(uri) ?? problemForType(new URL(uri), applicationType);
  if (problem === undefined) return;
  throw new OAuthError("invalid_redirect_uri", `A redirect URI ${problem}.`, {
    reason: "invalid_redirect_uri",
  });
}

/** Here and not in the policy: what was registered before this limit goes on working. */
function tooLong(uri: string): string | undefined {
  return uri.length > MAX_LENGTH ? `is longer than ${MAX_LENGTH} characters` : undefined;
}

/** What a client says it is binds it (OpenID Connect Registration §2): a web application lives at an https address. */
function problemForType({ protocol }: URL, applicationType: string | undefined): string | undefined {
  return applicationType === "web" && protocol !== "https:"
    ? 'is not https, although application_type is "web": register as "native"'
    : undefined;
}

function metadataError(error: z.ZodError): OAuthError {
  const issue = error.issues[0];
  const field = String(issue?.path[0] ?? "");
  if (field === "redirect_uris" && issue?.code === "too_small") return noRedirectUri();
  if (field === "redirect_uris")
    return new OAuthError(
      "invalid_redirect_uri",
      `redirect_uris must be a list of 1 to ${MAX_REDIRECT_URIS} absolute URIs.`,
      { reason: "invalid_redirect_uri" },
    );
  if (field === "token_endpoint_auth_method")
    return invalidMetadata(
      `token_endpoint_auth_method must be one of ${AUTH_METHODS.join(", ")}.`,
      "unknown_auth_method",
    );
  if (field === "")
    return invalidMetadata("The body must be a JSON object of client metadata.", "not_an_object");
  const must = field === "application_type" ? "native or web" : "a list of texts";
  return invalidMetadata(`The field ${field} must be ${must}.`, "invalid_field");
}

/**
 * Nothing that could be sent to a code's redirect is registered, so this stays a refusal (RFC 7591 §2, §3.2.2). Gemini CLI asks
 * so when the access token that it kept is unknown here: it reads the number 401 in an error's text as "sign in again", and
 * every other text as a server that is broken.
 */
function noRedirectUri(): OAuthError {
  return new OAuthError(
    "invalid_redirect_uri",
    `redirect_uris is empty: it must be a list of 1 to ${MAX_REDIRECT_URIS} absolute URIs. An application whose sign-in is not known here any more (HTTP 401) has to sign in again; in Gemini CLI: /mcp auth NAME.`,
    { reason: "no_redirect_uris" },
  );
}

function invalidMetadata(description: string, reason: ReasonCode): OAuthError {
  return new OAuthError("invalid_client_metadata", description, { reason });
}

function definedOnly<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}
