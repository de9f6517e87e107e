/** Grants: kept, found again, ended; their tokens at the identity provider renewed, revoked, and exchanged for those of other APIs. */
import type { Audit } from "../../audit/audit.ts";
import { createExchangedTokens, KeptTokens } from "../../grants/exchanged-tokens.ts";
import { createGrantCache } from "../../grants/grant-cache.ts";
import { createGrants } from "../../grants/grants.ts";
import { createLastUse } from "../../grants/last-use.ts";
import { createStepUps } from "../../grants/step-ups.ts";
import { grantFormat } from "../../grants/stored-grant.ts";
import { createUpstreamRefresh } from "../../grants/upstream-renewal.ts";
import { createUpstreamRevocations } from "../../grants/upstream-revocations.ts";
import type { KeepClaims } from "../../identity/bounded-claims.ts";
import type { IdentityProviders } from "../../identity/identity-providers.ts";
import { createAuthorizationServer } from "../../identity/oidc/authorization-server.ts";
import type { ScopeCatalogue } from "../../oauth/scope-catalogue.ts";
import { upstreamAccessToken } from "../../resource/upstream-access-token.ts";
import { encryptedStore } from "../../storage/encrypted.ts";
import type { Foundation } from "./foundation.ts";

interface Needs {
  identityProviders: IdentityProviders;
  keepClaims: KeepClaims;
  audit: Audit;
  /** Of the resource that a grant is for. */
  catalogueOf(resource: string): ScopeCatalogue;
}

export function grantServices(
  base: Foundation,
  { identityProviders, keepClaims, audit, catalogueOf }: Needs,
) {
  const { config, runtime, metrics, shutdown, records, storing, users } = base;
  const { baseUrl, lifetimes } = config;
  const { now, monotonicNow, log } = runtime;
  const compact = config.storedSessions === "compact";
  const store = encryptedStore({ ...storing, kind: "grant", compact, ...grantFormat(users) });
  const lastUse = createLastUse({ ...runtime, records, grants: store });
  shutdown.onShutdown(lastUse.flush);
  const revocations = createUpstreamRevocations({ identityProviders, log, waitUntil: shutdown.waitUntil });
  const grants = createGrants({
    ...runtime,
    store,
    records,
    indexes: records.indexes,
    users,
    lastUse,
    lifetimes,
    limits: config.grantLimits,
    revocations,
    audit,
  });
  const grantCache = createGrantCache({
    ...config.grantCache,
    grants,
    records,
    now: monotonicNow,
    onLookup: (outcome) => metrics.grantCache.inc({ outcome }),
  });
  const timeoutSeconds = Math.max(...config.identityProviders.map((each) => each.timeoutSeconds));
  const upstreamRefresh = createUpstreamRefresh({
    ...runtime,
    grants,
    identityProviders,
    revocations,
    records,
    keepClaims,
    catalogueOf,
    shutdown,
    timeoutSeconds,
  });
  const exchangedTokens = createExchangedTokens({
    ...runtime,
    grants,
    kept: encryptedStore({ ...storing, kind: "exchanged", schema: KeptTokens }),
    identityProviders,
    authorizationServers: new Map(
      config.authorizationServers.map((each) => [each.issuer, createAuthorizationServer(each, runtime)]),
    ),
    upstreamRefresh,
    shutdown,
    records,
    audit,
    connectionsUrl: `${baseUrl}/connections`,
    timeoutSeconds,
  });
  return {
    grants,
    grantCache,
    lastUse,
    stepUps: createStepUps({ records, users }),
    upstreamRefresh,
    /** The principal's own access token at the identity provider. */
    upstreamToken: (grantId: string) => upstreamAccessToken(grantId, { grants, upstreamRefresh, now }),
    exchangedTokens,
  };
}
