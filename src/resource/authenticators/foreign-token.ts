/** Authenticates access tokens of other issuers, which the operator trusts at a resource. */
import type { Permissions } from "../../access/permissions.ts";
import {
  clientOf,
  type Principal,
  principalFields,
  type Requester,
  subjectOf,
} from "../../access/principal.ts";
import type { ForeignAccessToken } from "../../issuers/access-token.ts";
import type { ForeignAccessTokens } from "../../issuers/access-tokens.ts";
import { JwtRefused } from "../../issuers/jwt.ts";
import { userAuthentication } from "../../oauth/required-authentication.ts";
import { intersect } from "../../oauth/scope.ts";
import type { ScopeCatalogue } from "../../oauth/scope-catalogue.ts";
import { sha256 } from "../../oauth/sha256.ts";
import { frozen } from "../access-token.ts";
import type { Caller, ForeignTokenRefusal, Verification } from "../caller.ts";
import type { TokenAuthenticator } from "../token-authenticator.ts";

interface Dependencies {
  tokens: ForeignAccessTokens;
  permissions: Permissions;
  catalogue: ScopeCatalogue;
  resource: string;
}

interface Finding {
  /** See {@link Permissions.ruleset}. */
  ruleset: object;
  verification: Verification;
}

export function foreignTokenAuthenticator(dependencies: Dependencies): TokenAuthenticator {
  const { tokens, permissions } = dependencies;
  // Of a token that is remembered as verified, the same object comes back.
  const requesters = new WeakMap<ForeignAccessToken, Requester>();
  const findings = new WeakMap<ForeignAccessToken, Finding>();

  /** {@link judge}, asked again only if the policy changed. */
  function judged(token: ForeignAccessToken): Verification {
    const requester = requesters.get(token) ?? requesterOf(token);
    requesters.set(token, requester);
    const ruleset = permissions.ruleset(requester);
    const before = findings.get(token);
    if (before?.ruleset === ruleset) return before.verification;
    const verification = judge(token, requester, dependencies);
    findings.set(token, { ruleset, verification });
    return verification;
  }

  return {
    claims: (token) => tokens.recognizes(token),
    async verify(token) {
      try {
        return judged(await tokens.verify(token));
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

/** Whether the principal may come in, and what the token is worth to them: by membership and policy as they are now. */
function judge(
  token: ForeignAccessToken,
  requester: Requester,
  { permissions, catalogue, resource }: Dependencies,
): Verification {
  const { principal, client } = requester;
  const subject = subjectOf(principal);
  const notAdmitted = permissions.checkAdmission(requester);
  if (notAdmitted !== undefined) {
    const { reason, rule } = notAdmitted;
    return {
      refused: reason,
      whose: { ...principalFields(principal), clientId: client.id },
      ...(rule && { rule: rule.name }),
    };
  }
  const held = permissions.permitted(requester, intersect(token.scopes, catalogue.names));
  const scopes = frozen(catalogue.expand(held));
  const caller: Caller = Object.freeze({
    principal,
    client,
    resource,
    scopes,
    notGiven: frozen([]),
    get permissions() {
      return permissions.permissionSet(requester, scopes);
    },
    // RFC 9068 §2.2.1
    ...(principal.kind === "user" && userAuthentication(token.claims)),
    expiresAt: token.expiresAt,
    sessionKey: sha256(JSON.stringify([principal.kind, token.issuer, subject, client.id])),
  });
  return { caller };
}
