/** Authenticates access tokens of other issuers, which the operator trusts at a resource. */
import { clientOf, type Principal, type Requester, subjectOf } from "../../access/principal.ts";
import type { ForeignAccessToken } from "../../issuers/foreign-access-token.ts";
import { JwtRefused } from "../../issuers/jwt.ts";
import type { TrustedAccessTokens } from "../../issuers/trusted-access-tokens.ts";
import { userAuthentication } from "../../oauth/required-authentication.ts";
import { intersect } from "../../oauth/scope.ts";
import { sha256 } from "../../oauth/sha256.ts";
import type { ForeignTokenRefusal } from "../caller.ts";
import type { TokenAuthenticator } from "../token-authenticator.ts";
import { createTokenJudge, frozen, type GenuineToken, type Rules } from "../token-worth.ts";

interface Dependencies extends Rules {
  tokens: TrustedAccessTokens;
  resource: string;
}

export function foreignTokenAuthenticator({ tokens, resource, ...rules }: Dependencies): TokenAuthenticator {
  const judge = createTokenJudge(rules);
  // Of a token that is remembered as verified, the same object comes back.
  const requesters = new WeakMap<ForeignAccessToken, Requester>();

  return {
    claims: (token) => tokens.recognizes(token),
    async verify(presented, address) {
      try {
        const token = await tokens.verify(presented, address);
        const requester = requesters.get(token) ?? requesterOf(token);
        requesters.set(token, requester);
        return judge(token, requester, () => genuine(token, requester, { ...rules, resource }));
      } catch (error) {
        if (!(error instanceof JwtRefused)) throw error;
        // Of the other reasons each is an assertion's.
        return { refused: error.reason as ForeignTokenRefusal };
      }
    },
  };
}

function requesterOf({ issuer, subject, clientId, isClients, claims }: ForeignAccessToken): Requester {
  const client = clientOf(issuer, clientId);
  const principal: Principal = isClients
    ? { kind: "client", clientId: client.id, issuer, claims }
    : { kind: "user", issuer, subject, claims };
  return frozen({ principal, client });
}

function genuine(
  { issuer, scopes, expiresAt, claims }: ForeignAccessToken,
  requester: Requester,
  { catalogue, resource }: Pick<Rules, "catalogue"> & { resource: string },
): GenuineToken {
  const { principal, client } = requester;
  return {
    requester,
    held: intersect(scopes, catalogue.names),
    resource,
    notGiven: [],
    // RFC 9068 §2.2.1
    ...(principal.kind === "user" && userAuthentication(claims)),
    expiresAt,
    sessionKey: sha256(JSON.stringify([principal.kind, issuer, subjectOf(principal), client.id])),
  };
}
