/** Is this access token good, and whose is it? Asked for every request to the protected resource. */

import type { Permissions } from "../access/permissions.ts";
import { type Grant, type IssuedAccessToken, notGiven, whose } from "../grants/grant.ts";
import type { CachedGrant, GrantCache } from "../grants/grant-cache.ts";
import type { Grants } from "../grants/grants.ts";
import { readToken, type TokenHash } from "../grants/opaque-token.ts";
import type { UpstreamRefresh } from "../grants/upstream-renewal.ts";
import { OAuthError } from "../oauth/errors.ts";
import { authenticationIn, type UserAuthentication } from "../oauth/required-authentication.ts";
import type { ScopeCatalogue } from "../oauth/scope-catalogue.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { AccessTokenRefusal, Caller, Verification } from "./caller.ts";

/** Who is calling, through which client, and what they may do. Immutable. */
export interface AccessToken extends UserAuthentication {
  /** The user's `sub` at the identity provider, or other issuer; of a client that acts for itself, its id (RFC 9068 §2.2). */
  readonly subject: string;
  /** Who acts: a person, a client for itself, or a program of which its platform says who it is. */
  readonly kind: "user" | "client" | "workload";
  /** Who names the subject: two issuers may give the same one to different people. Absent: a client of this server's. */
  readonly issuer?: string;
  /** That of a client of another issuer is `<issuer>#<its id there>`. */
  readonly clientId: string;
  /** What may be done now: what was granted and everything that it includes, less what the policy denies. */
  readonly scopes: readonly string[];
  /** What the user approved and the identity provider does not give: its administrator can. */
  readonly notGiven: readonly string[];
  /** What the identity provider says of the user: ID token, userinfo and access token claims, in this order. */
  readonly claims: Readonly<Record<string, unknown>>;
  /** Seconds since the epoch. */
  readonly expiresAt: number;
  readonly resource: string;
  /** Absent: the token is another issuer's, so there is no session here. */
  readonly grantId?: string;
  /** Where the client receives its codes, if it does: distinguishes clients that registered themselves. */
  readonly redirectUri?: string;
}

interface Dependencies extends Pick<Runtime, "now"> {
  grants: GrantCache;
  permissions: Permissions;
  catalogue: ScopeCatalogue;
  resource: string;
  /** Why a grant is no longer good although it is there: a reason code. Asked at each request, from memory. */
  takenBack?(grant: CachedGrant): AccessTokenRefusal | undefined;
  /** The principal's own access token at the identity provider. */
  upstreamToken(grantId: string): Promise<string>;
  /** What was found out about grants that are kept: it counts as long as the rules that match are the same. */
  findings?: Findings;
}

/** For as long as the grant itself is kept: a grant that changes is another object. */
export type Findings = WeakMap<CachedGrant, Map<TokenHash, Finding>>;

interface Finding {
  /** See {@link Permissions.ruleset}. */
  ruleset: object;
  verification: Verification;
}

/** Verifies an access token for `resource`. One look-up, and none for a grant that was seen a moment ago. */
export async function verifyAccessToken(value: string, dependencies: Dependencies): Promise<Verification> {
  const presented = readToken("access", value);
  if (presented === undefined) return { refused: "malformed_access_token" };
  const issuedBy = ({ accessTokens }: CachedGrant) =>
    accessTokens.find(({ hash }) => hash === presented.hash);
  const grant = await dependencies.grants.find(presented.grantId, (found) => issuedBy(found) !== undefined);
  if (grant === undefined) return { refused: "grant_ended" };
  const issued = issuedBy(grant);
  if (issued === undefined) return { refused: "unknown_access_token" };
  const taken = dependencies.takenBack?.(grant);
  if (taken !== undefined) return { refused: taken, whose: whose(grant) };
  if (issued.expiresAt <= dependencies.now()) return { refused: "expired_access_token", whose: whose(grant) };
  if (grant.resource !== dependencies.resource)
    return { refused: "access_token_for_another_resource", whose: whose(grant) };
  return judged(grant, issued, dependencies);
}

/** {@link judge}, asked again only if the policy changed. */
function judged(grant: CachedGrant, issued: IssuedAccessToken, dependencies: Dependencies): Verification {
  const { permissions, findings = new WeakMap() } = dependencies;
  const byToken = findings.get(grant) ?? new Map<TokenHash, Finding>();
  findings.set(grant, byToken);
  const ruleset = permissions.ruleset(grant);
  const before = byToken.get(issued.hash);
  if (before?.ruleset === ruleset) return before.verification;
  const verification = judge(grant, issued, dependencies);
  byToken.set(issued.hash, { ruleset, verification });
  return verification;
}

/** Whether the principal may come in, and what the token is worth to them: by membership and policy as they are now. */
function judge(
  grant: CachedGrant,
  issued: IssuedAccessToken,
  { permissions, catalogue, upstreamToken }: Dependencies,
): Verification {
  const notAdmitted = permissions.checkAdmission(grant);
  if (notAdmitted !== undefined) {
    const { reason, rule } = notAdmitted;
    return { refused: reason, whose: whose(grant), ...(rule && { rule: rule.name }) };
  }
  // Handed to every tool that this token calls: none may change it for the next one.
  const scopes = frozen(effectiveScopes(issued.scopes, grant, { permissions, catalogue }));
  const caller: Caller = Object.freeze({
    principal: frozen(grant.principal),
    client: frozen(grant.client),
    resource: grant.resource,
    scopes,
    notGiven: frozen(notGiven(grant, catalogue)),
    get permissions() {
      return permissions.permissionSet(grant, scopes);
    },
    ...authenticationIn(grant),
    expiresAt: issued.expiresAt,
    grantId: grant.id,
    sessionKey: grant.id,
    upstreamToken: () => upstreamToken(grant.id),
  });
  return { caller };
}

export function frozen<T>(value: T): T {
  if (typeof value === "object" && value !== null) Object.values(Object.freeze(value)).forEach(frozen);
  return value;
}

/**
 * What the scopes of a token are worth now: without what the provider took from the grant since, or the policy denies,
 * and with everything that the rest includes.
 */
export function effectiveScopes(
  issued: readonly string[],
  grant: Pick<Grant, "principal" | "client" | "scopes">,
  { permissions, catalogue }: Pick<Dependencies, "permissions" | "catalogue">,
): string[] {
  const held = catalogue.limitTo(issued, grant.scopes);
  return catalogue.expand(permissions.permitted(grant, held));
}

// Enough for a request that is made right away; the provider's clock may be a little off.
const UPSTREAM_MARGIN_SECONDS = 60;

/**
 * The user's own access token at the identity provider, good for at least a minute where the provider can renew it.
 * @throws OAuthError `invalid_grant` if the grant has ended, here or there, `unauthorized_client` if nobody signed in there for
 * it; UnavailableError on an outage
 */
export async function upstreamAccessToken(
  grantId: string,
  {
    grants,
    upstreamRefresh,
    now,
  }: Pick<Runtime, "now"> & { grants: Grants; upstreamRefresh: UpstreamRefresh },
): Promise<string> {
  const grant = await grants.find(grantId);
  if (grant === undefined)
    throw new OAuthError("invalid_grant", "The grant has ended. Sign in again.", { reason: "grant_ended" });
  const { upstream } = await upstreamRefresh.ensureFreshUntil(grant, now() + UPSTREAM_MARGIN_SECONDS);
  if (upstream === undefined) throw noUpstreamTokens();
  return upstream.accessToken;
}

export function noUpstreamTokens(): OAuthError {
  return new OAuthError(
    "unauthorized_client",
    "This needs a user who signed in at the identity provider through this server, and this client acts without one.",
    { reason: "no_upstream_tokens" },
  );
}
