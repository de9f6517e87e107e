/**
 * A token for another API in a user's name: asked of the provider in its dialect (profiles/token-exchange.ts), and given to a tool
 * only if it is what was asked for. What the token says of itself is not verified, because it came from the provider itself and
 * is for others to believe: it is used to refuse the token only.
 */
import type { JWTPayload } from "jose";
import * as oidc from "openid-client";
import type { User } from "../../access/principal.ts";
import { UnavailableError } from "../../oauth/errors.ts";
import { type ApiRequest, identifierOf } from "../../oauth/other-api.ts";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import { missingScopes, parseRequestedScope, union } from "../../oauth/scope.ts";
import { type ExchangedToken, UnacceptableAnswer, UpstreamRefusal } from "../identity-provider.ts";
import { profileOf } from "../profiles/profiles.ts";
import { ACCESS_TOKEN_TYPE, type TokenExchange } from "../profiles/token-exchange.ts";
import type { IdentityProviderSettings } from "../settings.ts";
import { answer, NOT_SET_UP, outageOf } from "./answers.ts";
import type { Discovered } from "./discovery.ts";
import { isOAuthCode, isOurMistake, passesByItself } from "./renewal-refusals.ts";
import { decodedClaims } from "./token-verification.ts";

interface Exchange {
  /** The user's own access token. */
  accessToken: string;
  api: ApiRequest;
  user: Pick<User, "subject" | "claims">;
}

/** Asks once: what is slow or fails is not repeated here. */
export async function exchangeToken(
  { configuration }: Discovered,
  config: IdentityProviderSettings,
  exchange: Exchange,
  now: number,
): Promise<ExchangedToken> {
  const { tokenExchange: dialect } = profileOf(config);
  const problem = dialect.problem?.(config);
  if (problem !== undefined) throw misconfigured(new Error(problem));
  const parameters = dialect.parameters(exchange.accessToken, exchange.api, config);
  const response = await definite(
    answer(inDialect(oidc.genericGrantRequest(configuration, dialect.grantType, parameters), dialect)),
  );
  const claims = decodedClaims(response.access_token);
  checkType(response, dialect);
  checkUser(claims, exchange, dialect);
  checkAudience(claims, exchange.api, config, dialect);
  const scopes = checkedScopes(response, claims, exchange.api, dialect);
  return {
    accessToken: response.access_token,
    ...(scopes !== undefined && { scopes }),
    obtainedAt: now,
    expiresAt: Math.floor(expiryOf(response, claims, now)),
  };
}

/** An error whose code says less than the rest of the answer does. */
async function inDialect<T>(asked: Promise<T>, { refusalCode }: TokenExchange): Promise<T> {
  try {
    return await asked;
  } catch (cause) {
    // One that openid-client does not know.
    if (cause instanceof oidc.ClientError && cause.code === "OAUTH_UNSUPPORTED_OPERATION")
      throw unacceptable("exchanged_token_type", "its token_type is not Bearer");
    if (!(cause instanceof oidc.ResponseBodyError)) throw cause;
    // `answer()` takes it for rejected credentials: it is what a client that may not exchange is told.
    if (cause.error === "unauthorized_client") throw misconfigured(cause);
    const code = refusalCode?.({ ...cause.cause });
    throw code === undefined
      ? cause
      : new UpstreamRefusal(code, { description: cause.error_description, cause });
  }
}

/** Lets only a refusal pass that is about this user and this API. */
export async function definite<T>(exchanged: Promise<T>): Promise<T> {
  try {
    return await exchanged;
  } catch (cause) {
    if (!(cause instanceof UpstreamRefusal)) throw cause;
    // Of another code it is one that was not what this one asked for.
    if (cause instanceof UnacceptableAnswer)
      throw cause.code === "invalid_response" ? outageOf("identity_provider_failed", cause) : cause;
    if (isOurMistake(cause)) throw misconfigured(cause);
    throw isOAuthCode(cause.code) && !passesByItself(cause.code)
      ? cause
      : outageOf("identity_provider_failed", cause);
  }
}

function misconfigured(cause: Error): UnavailableError {
  return new UnavailableError("identity provider", {
    reason: "exchange_misconfigured",
    cause,
    description: NOT_SET_UP,
    untilRepaired: true,
  });
}

function unacceptable(reason: ReasonCode, found: string): UnacceptableAnswer {
  return new UnacceptableAnswer(reason, { cause: new Error(found) });
}

// More than a server takes in a header.
const MAX_TOKEN_LENGTH = 16_384;

function checkType(response: oidc.TokenEndpointResponse, { saysIssuedType }: TokenExchange): void {
  const { token_type: type, issued_token_type: issued, access_token: token } = response;
  if (type !== "bearer") throw unacceptable("exchanged_token_type", `its token_type is ${type}`);
  // RFC 8693 §2.2.1: what is issued may be an ID token, or another thing that no API should be sent.
  if (saysIssuedType && issued !== ACCESS_TOKEN_TYPE)
    throw unacceptable("exchanged_token_type", `its issued_token_type is ${String(issued).slice(0, 100)}`);
  if (token.length > MAX_TOKEN_LENGTH)
    throw unacceptable("exchanged_token_type", `it has ${token.length} characters`);
}

/** Where it can be seen: in an opaque token it cannot. */
function checkUser(
  claims: JWTPayload | undefined,
  { accessToken, user }: Exchange,
  dialect: TokenExchange,
): void {
  const { subjectClaim: claim } = dialect;
  const named = claims?.[claim];
  const ours = { ...user.claims, sub: user.subject }[claim];
  // A provider may name its users otherwise in access tokens than in ID tokens.
  const known = [ours, decodedClaims(accessToken)?.[claim]].filter((each) => typeof each === "string");
  if (typeof named !== "string" || known.length === 0 || known.includes(named)) return;
  throw unacceptable("exchanged_token_of_another_user", `its ${claim} is not the user's`);
}

/** A provider that ignores what it is asked for answers with a token for our own API, which another one must not get. */
function checkAudience(
  claims: JWTPayload | undefined,
  api: ApiRequest,
  { audience: ourOwn, clientId }: IdentityProviderSettings,
  { audienceIsIdentifier }: TokenExchange,
): void {
  if (claims?.aud === undefined) return;
  const named = [claims.aud].flat();
  if (named.includes(identifierOf(api))) return;
  const isForUs = named.every((each) => each === ourOwn || each === clientId);
  // A provider may make another identifier of a resource (RFC 8707 §2).
  if (isForUs || (api.audience !== undefined && audienceIsIdentifier))
    throw unacceptable("exchanged_token_for_another_api", "its aud is another one than was asked for");
}

/**
 * Those that it is good for, as the answer says; undefined if nobody says, and it is what was asked for (RFC 8693 §2.2.1).
 * @throws UpstreamRefusal if they are others than were asked for
 */
export function checkedScopes(
  { scope }: oidc.TokenEndpointResponse,
  claims: JWTPayload | undefined,
  { scopes: asked }: ApiRequest,
  { scopeName }: Pick<TokenExchange, "scopeName">,
): string[] | undefined {
  const answered = scope === undefined ? undefined : scopesIn(scope);
  const inToken = [claims?.scope, claims?.scp].flatMap((claim) => scopesIn(claim) ?? []);
  const said = answered ?? (inToken.length > 0 ? inToken : undefined);
  if (asked.length === 0 || said === undefined) return said;
  const names = (scopes: readonly string[]) => scopes.map(scopeName);
  const given = names(union(said, inToken));
  const broader = missingScopes(given, names(asked));
  if (broader.length > 0)
    throw unacceptable("exchanged_token_broader", `it is good for ${broader.slice(0, 5).join(" ")}, too`);
  // Scopes of OpenID Connect are said of the user, and not of the API.
  const lacking = missingScopes(names(parseRequestedScope(asked.join(" ")) ?? []), names(said));
  if (lacking.length > 0) throw new UpstreamRefusal("insufficient_scope", { description: lacking.join(" ") });
  return said;
}

/** Without those of OpenID Connect, which providers add to every token. */
function scopesIn(value: unknown): string[] | undefined {
  const text = Array.isArray(value) ? value.filter((each) => typeof each === "string").join(" ") : value;
  return typeof text === "string" ? parseRequestedScope(text) : undefined;
}

// Assumed if nobody says how long it is good for: RFC 8693 §2.2.1 only recommends to say it.
const ASSUMED_LIFETIME_SECONDS = 300;

export function expiryOf(
  response: oidc.TokenEndpointResponse,
  claims: JWTPayload | undefined,
  now: number,
): number {
  const said = [response.expires_in === undefined ? undefined : now + response.expires_in, claims?.exp];
  // Whichever ends first: one that is kept for longer is refused by the API, and nothing would replace it.
  const ends = said.filter((end) => Number.isFinite(end)) as number[];
  return ends.length === 0 ? now + ASSUMED_LIFETIME_SECONDS : Math.min(...ends);
}
