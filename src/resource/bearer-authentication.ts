/** Bearer authentication of the protected resource (RFC 6750): a valid access token, or a challenge with what to do next. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { parse as parseQuery } from "node:querystring";
import type { Decision } from "../access/permissions.ts";
import { principalFields } from "../access/principal.ts";
import type { Audit } from "../audit/audit.ts";
import { bearerToken } from "../http/bearer-token.ts";
import type { ClientAddresses } from "../http/client-address.ts";
import { requestFacts } from "../http/request-facts.ts";
import { sendJson } from "../http/send-json.ts";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import { asParameters, type RequiredAuthentication, shortfallOf } from "../oauth/required-authentication.ts";
import { describeRequirement, type RequiredScopes } from "../oauth/scope-requirement.ts";
import { resourceMetadataUrl } from "../oauth/server-metadata.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { AuthenticatedRequest, AuthenticationRefusal, Caller, Verification } from "./caller.ts";
import type { ProtectedResource } from "./protected-resource.ts";
import { authenticateToken, type TokenAuthenticator } from "./token-authenticator.ts";

/** Whose challenge it is: it names the resource's metadata, and the default scopes so that a client asks for them. */
export type ChallengedResource = Pick<ProtectedResource, "uri" | "scopes">;

export interface BearerAuthenticationOptions
  extends Pick<Runtime, "now">,
    Pick<ClientAddresses, "addressOf"> {
  resource: ChallengedResource & Pick<ProtectedResource, "authenticators">;
  audit: Audit;
  /** Called with the grant of every token that was accepted, if it has one. */
  noteUse(grantId: string): void;
}

/** RFC 6750 §2.1, of any length: an authenticator hashes only what has the form of its tokens. */
export const BEARER_TOKEN = /^[A-Za-z0-9\-._~+/]+=*$/;

/** Who sends a request; undefined if that was refused, and answered. */
export type Authenticate = (
  req: IncomingMessage,
  res: ServerResponse,
) => Promise<AuthenticatedRequest | undefined>;

/** An outage of the store is not an answer about the token: it is thrown, and becomes a 503. */
export function bearerAuthentication(options: BearerAuthenticationOptions): Authenticate {
  const { resource, audit, noteUse, addressOf, now } = options;
  const metadata = { resource_metadata: resourceMetadataUrl(resource.uri) };

  return async (req, res) => {
    requestFacts(res).protectedResource = resource.uri;
    if (hasTokenInQuery(req))
      return refuse(res, 400, "token_in_query", {
        error: "invalid_request",
        error_description: "Send the access token in the Authorization header: in a URL it ends up in logs.",
        ...metadata,
      });
    const presented = bearerToken(req);
    // RFC 6750 §3.1: without a token there is no error to report, only where to get one. A client that kept an empty
    // token is in the same position.
    if (presented === undefined)
      return refuse(res, 401, "no_token", { ...metadata, ...defaultScope(resource) });
    if (!BEARER_TOKEN.test(presented))
      return refuse(res, 400, "malformed_authorization_header", {
        error: "invalid_request",
        error_description: "The Authorization header is not of the form: Bearer <access token>.",
        ...metadata,
      });
    const address = addressOf(req);
    const verification = await authenticateToken(presented, resource.authenticators, address);
    if ("refused" in verification) {
      const { refused: reason, whose, rule } = verification;
      // Where it was refused: a token of another resource was issued for that.
      const protectedResource = resource.uri;
      audit({ event: "access_refused", decision: "deny", reason, ...whose, protectedResource, rule });
      return invalidToken(res, resource, { reason, message: NOT_VALID });
    }
    const { caller } = verification;
    Object.assign(requestFacts(res), principalFields(caller.principal));
    requestFacts(res).clientId = caller.client.id;
    if (caller.grantId !== undefined) {
      requestFacts(res).grantId = caller.grantId;
      noteUse(caller.grantId);
    }
    return new BearerToken(presented, address, caller, resource.authenticators, now);
  };
}

function hasTokenInQuery({ url = "" }: IncomingMessage): boolean {
  const at = url.indexOf("?");
  return at !== -1 && parseQuery(url.slice(at + 1)).access_token !== undefined;
}

class BearerToken implements AuthenticatedRequest {
  readonly #presented: string;
  readonly #address: string | undefined;
  readonly #authenticators: readonly TokenAuthenticator[];
  readonly #now: Runtime["now"];
  #caller: Caller;
  #required: Map<string, RequiredScopes> | undefined;

  constructor(
    presented: string,
    address: string | undefined,
    caller: Caller,
    authenticators: readonly TokenAuthenticator[],
    now: Runtime["now"],
  ) {
    this.#presented = presented;
    this.#address = address;
    this.#caller = caller;
    this.#authenticators = authenticators;
    this.#now = now;
  }

  get caller(): Caller {
    return this.#caller;
  }

  verify(): Promise<Verification> {
    return authenticateToken(this.#presented, this.#authenticators, this.#address);
  }

  accept(caller: Caller): void {
    this.#caller = caller;
  }

  get required(): Iterable<RequiredScopes> {
    return this.#required?.values() ?? [];
  }

  checkScopes(required: RequiredScopes): Decision {
    const decision = this.#caller.permissions.checkScopes(required);
    if (!decision.allowed) return decision;
    this.#required ??= new Map();
    this.#required.set(describeRequirement(required), required);
    return decision;
  }

  checkAuthentication(required: RequiredAuthentication): AuthenticationRefusal | undefined {
    // No client can meet a challenge for somebody who is not there.
    if (this.#caller.principal.kind !== "user") return "no_user_authentication";
    const shortfall = shortfallOf(this.#caller, required, { now: this.#now() });
    return shortfall && "insufficient_user_authentication";
  }
}

const NOT_VALID = "The access token is unknown, expired or revoked. Refresh it, or sign in again.";

/** Answers HTTP 401 `invalid_token` (RFC 6750 §3.1). */
export function invalidToken(
  res: ServerResponse,
  resource: ChallengedResource,
  { reason, message }: { reason: ReasonCode; message: string },
): undefined {
  return refuse(res, 401, reason, {
    error: "invalid_token",
    error_description: message,
    resource_metadata: resourceMetadataUrl(resource.uri),
    ...defaultScope(resource),
  });
}

function defaultScope({ scopes: { defaultScopes } }: ChallengedResource): { scope?: string } {
  return defaultScopes.length > 0 ? { scope: defaultScopes.join(" ") } : {};
}

/**
 * Answers HTTP 403 `insufficient_scope` (RFC 6750 §3.1). The challenge names everything granted and everything this
 * call needs: a client that asks for exactly the challenge's scope must not lose what it had.
 */
export function insufficientScope(
  res: ServerResponse,
  resource: Pick<ProtectedResource, "uri">,
  scopesToAskFor: readonly string[],
  missing: readonly string[],
): void {
  refuse(res, 403, "insufficient_scope", {
    error: "insufficient_scope",
    error_description: `This needs the scope ${inWords(missing)}, which was not granted.`,
    resource_metadata: resourceMetadataUrl(resource.uri),
    scope: scopesToAskFor.join(" "),
  });
}

/**
 * Answers HTTP 401 `insufficient_user_authentication` (RFC 9470 §3).
 * @param scopesToAskFor everything granted, and what this call needs beside it: one sign-in is for all of it
 */
export function insufficientAuthentication(
  res: ServerResponse,
  resource: Pick<ProtectedResource, "uri">,
  scopesToAskFor: readonly string[],
  { required, message }: { required: RequiredAuthentication; message: string },
): void {
  refuse(res, 401, "insufficient_user_authentication", {
    error: "insufficient_user_authentication",
    error_description: message,
    ...asParameters(required),
    resource_metadata: resourceMetadataUrl(resource.uri),
    ...(scopesToAskFor.length > 0 && { scope: scopesToAskFor.join(" ") }),
  });
}

const MAX_NAMED = 8;

/** All of them are in `scope`: said twice, those of a batch would be more than clients take for a header. */
function inWords(scopes: readonly string[]): string {
  const more = scopes.length - MAX_NAMED;
  const named = scopes.slice(0, MAX_NAMED).join(" ");
  return more > 0 ? `${named} and ${more} more` : named;
}

interface Challenge {
  error?: string;
  error_description?: string;
  max_age?: string;
  acr_values?: string;
  resource_metadata: string;
  scope?: string;
}

function refuse(res: ServerResponse, status: number, reason: ReasonCode, challenge: Challenge): undefined {
  requestFacts(res).reason = reason;
  const parameters = Object.entries(challenge).map(
    ([name, value]) => `${name}="${value.replace(/["\\]/g, "\\$&")}"`,
  );
  res.setHeader("WWW-Authenticate", `Bearer ${parameters.join(", ")}`);
  sendJson(res, status, {
    error: challenge.error ?? "unauthorized",
    error_description:
      challenge.error_description ?? `Sign in first: ${challenge.resource_metadata} says where.`,
  });
  return undefined;
}
