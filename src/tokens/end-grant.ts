/** Ends grants for good: here, on every replica, and at the provider. */
import { causes } from "../oauth/errors.ts";
import type { Surroundings } from "../surroundings.ts";
import type { IdentityProvider } from "../upstream/identity-provider.ts";
import type { Grant } from "./grant.ts";
import type { GrantEnd, Grants } from "./grants.ts";

interface Rooms extends Pick<Surroundings, "log"> {
  grants: Pick<Grants, "end">;
  identityProvider: Pick<IdentityProvider, "revoke">;
}

// Of a provider that is asked a hundred things at once, most would be refused.
const REVOCATIONS_AT_ONCE = 4;

/**
 * Ends grants. When this resolves none of them is good any more, on any replica; `atProvider` resolves when the
 * provider, too, was told to forget its refresh tokens, and never rejects.
 * @returns those that were ended by this call
 * @throws UnavailableError if some could not be ended; the others are
 */
export async function endGrants(
  ids: readonly string[],
  reason: GrantEnd,
  { grants, identityProvider, log }: Rooms,
): Promise<{ ended: Grant[]; atProvider: Promise<void> }> {
  const endings = await Promise.allSettled(ids.map((id) => grants.end(id, reason)));
  const ended = endings.flatMap((ending) => (ending.status === "fulfilled" ? (ending.value ?? []) : []));
  const pending = ended.values();
  const revokeSome = async () => {
    for (const grant of pending) await revokeUpstream(grant, identityProvider, log);
  };
  const revoking = Promise.all(Array.from({ length: REVOCATIONS_AT_ONCE }, revokeSome));
  const failed = endings.find((ending) => ending.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  return { ended, atProvider: revoking.then(() => {}) };
}

/** Our own tokens are dead by now whatever the provider answers, so its failure is logged and not the client's. */
async function revokeUpstream(
  grant: Grant,
  identityProvider: Rooms["identityProvider"],
  log: Surroundings["log"],
): Promise<void> {
  if (grant.upstream.refreshToken === undefined) return;
  try {
    await identityProvider.revoke(grant.upstream.refreshToken);
  } catch (error) {
    log.warn(
      { reason: "upstream_revocation_failed", grantId: grant.id, cause: causes(error) },
      "The provider still holds its refresh token",
    );
  }
}
