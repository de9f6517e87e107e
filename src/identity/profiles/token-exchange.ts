/** How a provider is asked for a token for another API in the name of a user whose access token we have. */
import type { ApiRequest } from "../../oauth/other-api.ts";
import type { IdentityProviderSettings } from "../settings.ts";

export interface TokenExchange {
  /** What its documentation calls it. */
  readonly name: string;
  readonly grantType: string;
  /** @param subjectToken the user's own access token at the provider */
  parameters(subjectToken: string, api: ApiRequest, settings: ExchangeSettings): Record<string, string>;
  /** What has to be set, and is not; undefined if all is. */
  problem?(settings: ExchangeSettings): string | undefined;
  /** Whether the answer says what kind of token it is (`issued_token_type`, RFC 8693 §2.2.1). */
  readonly saysIssuedType: boolean;
  /** The claim that names a user alike in the tokens for all APIs. */
  readonly subjectClaim: string;
  /** Whether `aud` of the token is the identifier by which the API was asked for. */
  readonly audienceIsIdentifier: boolean;
  /** What a scope is called, however it is written in the request, the answer and the token. */
  scopeName(scope: string): string;
  /** What an error of the token endpoint means, where the provider says more than the code. */
  refusalCode?(body: Readonly<Record<string, unknown>>): string | undefined;
}

export type ExchangeSettings = Pick<
  IdentityProviderSettings,
  "subjectTokenType" | "exchangeClient" | "organization"
>;

export const ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token";

export const TOKEN_EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange";

/** RFC 8693. */
export const tokenExchange: TokenExchange = {
  name: "token exchange (RFC 8693)",
  grantType: TOKEN_EXCHANGE_GRANT,
  parameters: (subjectToken, { audience, resource, scopes }, { subjectTokenType = ACCESS_TOKEN_TYPE }) => ({
    subject_token: subjectToken,
    subject_token_type: subjectTokenType,
    requested_token_type: ACCESS_TOKEN_TYPE,
    ...(audience !== undefined && { audience }),
    ...(resource !== undefined && { resource }),
    ...(scopes.length > 0 && { scope: scopes.join(" ") }),
  }),
  saysIssuedType: true,
  subjectClaim: "sub",
  audienceIsIdentifier: true,
  scopeName: (scope) => scope,
};
