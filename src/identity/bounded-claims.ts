/** An identity provider whose claims are bounded to what can be stored with every session (kept-claims.ts). */

import { shapeProblem } from "../access/claims.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { IdentityProvider } from "./identity-provider.ts";
import { keptClaims } from "./kept-claims.ts";
import type { IdentityProviderSettings } from "./settings.ts";

/** What of these claims is kept. */
export type KeepClaims = (
  claims: Readonly<Record<string, unknown>>,
  subject: string,
) => Record<string, unknown>;

const MAX_NAMES_LOGGED = 10;

/** Names or dotted paths of the claims that policy, membership and scopes ask for now. */
export function decidingClaims(
  permissions: { claimsAsked(): readonly string[] },
  providers: ReadonlyArray<Pick<IdentityProviderSettings, "scopeSources">>,
): string[] {
  const ofScopes = providers.flatMap(({ scopeSources }) =>
    scopeSources.kind === "provider" && scopeSources.claim ? [scopeSources.claim.path] : [],
  );
  return [...permissions.claimsAsked(), ...ofScopes];
}

/** @param deciding see {@link decidingClaims} */
export function createKeepClaims(
  deciding: () => readonly string[],
  log: Pick<Runtime["log"], "warn">,
): KeepClaims {
  const tellShapes = tellOnce(log);
  return (claims, subject) => {
    tellShapes(claims, deciding());
    const { claims: kept, dropped } = keptClaims(claims, deciding());
    if (dropped.length > 0)
      log.warn(
        {
          reason: "claims_too_large",
          subject,
          dropped: dropped.slice(0, MAX_NAMES_LOGGED).map((name) => name.slice(0, 64)),
        },
        "The identity provider says more of this user than is kept (32 KB): what was left out is unknown to rules and tools. Have the provider send fewer claims",
      );
    return kept;
  };
}

/** Logged once for each claim: unreadable roles would otherwise look like a provider that gives none. */
function tellOnce(log: Pick<Runtime["log"], "warn">) {
  const told = new Set<string>();
  return (claims: Readonly<Record<string, unknown>>, paths: readonly string[]) => {
    for (const path of paths) {
      const problem = shapeProblem(claims, path);
      if (problem === undefined || told.has(path)) continue;
      told.add(path);
      log.warn(
        { reason: "claim_not_understood", claim: path, problem },
        "A claim that decides is not written as a list of names: what is in it may give nobody anything. If it holds several names, have the provider send a list of texts",
      );
    }
  };
}

export function withBoundedClaims(
  provider: IdentityProvider,
  deciding: () => readonly string[],
  keep: KeepClaims,
): IdentityProvider {
  return {
    ...provider,
    async finishLogin(parameters, request) {
      const login = await provider.finishLogin(parameters, request);
      const claims = keep(login.claims, login.subject);
      // One that decides and was too large today may be smaller at a renewal, and gone at the next.
      const decides = (name: string) =>
        deciding().some((path) => path === name || path.startsWith(`${name}.`));
      const renewable = login.renewable.filter((name) => Object.hasOwn(claims, name) || decides(name));
      return { ...login, claims, renewable };
    },
    async identify(parameters, request) {
      const identity = await provider.identify(parameters, request);
      return { ...identity, claims: keep(identity.claims, identity.subject) };
    },
  };
}
