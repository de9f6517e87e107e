/**
 * What a caller is told when the provider gives no token for another API. A client can be led to a sign-in that the provider describes
 * (RFC 9470), and to nothing else that is missing: a challenge makes it send the user through a sign-in here, which would be the
 * same as the last one. So it is an error in words, which every client shows, and it says what the user can do.
 */
import { RefusedElsewhere, UnacceptableAnswer, type UpstreamRefusal } from "../identity/identity-provider.ts";
import { OAuthError } from "../oauth/errors.ts";
import { type ApiRequest, identifierOf } from "../oauth/other-api.ts";
import type { ReasonCode } from "../oauth/reason-codes.ts";
import type { RequiredAuthentication } from "../oauth/required-authentication.ts";

/** The provider says which sign-in it wants: that can be asked of the client. */
export class AnotherSignInRequired extends OAuthError {
  readonly required: RequiredAuthentication;

  constructor(words: string, cause: UpstreamRefusal, required: RequiredAuthentication) {
    super("interaction_required", words, { reason: "exchange_needs_sign_in", cause });
    this.required = required;
  }
}

/** @param connectionsUrl where a user ends a connection: their application then signs them in anew */
export function exchangeRefusal(cause: UpstreamRefusal, api: ApiRequest, connectionsUrl: string): OAuthError {
  const name = identifierOf(api);
  const refused = (code: OAuthError["code"], reason: ReasonCode, words: string) =>
    new OAuthError(code, words, { reason, cause });
  // Its code is our own.
  if (cause instanceof UnacceptableAnswer)
    return refused(
      "access_denied",
      cause.code as ReasonCode,
      `The identity provider gave a token for ${name} that is not what was asked for, so it is not used. Ask the operator of this server.`,
    );
  if (cause instanceof RefusedElsewhere && !/_scope$/.test(cause.code))
    return refused(
      "access_denied",
      "exchange_refused_elsewhere",
      `The authorization server ${cause.issuer} does not let this server use ${name} in your name. Its administrator can.`,
    );
  switch (cause.code) {
    case "consent_required":
      return refused(
        "interaction_required",
        "exchange_needs_consent",
        `The identity provider wants consent before ${name} is used in your name. Ask its administrator to give it for this server.`,
      );
    case "insufficient_user_authentication":
    case "interaction_required":
    case "login_required":
    case "mfa_required":
    case "invalid_grant": {
      const words = `The identity provider wants you to sign in again before ${name} is used in your name. End this application's connection at ${connectionsUrl}, and connect it again.`;
      return cause.required === undefined
        ? refused("interaction_required", "exchange_needs_sign_in", words)
        : new AnotherSignInRequired(words, cause, cause.required);
    }
    case "invalid_scope":
    case "insufficient_scope":
      return refused(
        "access_denied",
        "exchange_scopes_refused",
        `The identity provider does not give you ${api.scopes.length > 0 ? `the scope ${api.scopes.join(" ")}` : "what was asked for"} at ${name}. Its administrator can.`,
      );
    default:
      return refused(
        "access_denied",
        "exchange_refused",
        `The identity provider does not let this server use ${name} in your name. Its administrator can.`,
      );
  }
}
