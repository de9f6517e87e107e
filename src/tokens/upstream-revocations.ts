/** Tells the identity provider to forget what it gave for grants that have ended. */
import { causes } from "../oauth/errors.ts";
import type { Surroundings } from "../surroundings.ts";
import type { IdentityProvider } from "../upstream/identity-provider.ts";
import type { Grant } from "./grant.ts";

export interface UpstreamRevocations {
  /** Resolves when the provider was told, or could not be; never rejects. Nobody has to wait for it. */
  tell(grant: Pick<Grant, "id" | "upstream">): Promise<void>;
}

interface Rooms extends Pick<Surroundings, "log"> {
  identityProvider: Pick<IdentityProvider, "revoke">;
  /** See {@link ../lifecycle.ts Lifecycle.track}. */
  track?(work: Promise<unknown>): void;
}

// Of a provider that is asked a hundred things at once, most would be refused.
const REVOCATIONS_AT_ONCE = 4;

export function createUpstreamRevocations({
  identityProvider,
  log,
  track = () => {},
}: Rooms): UpstreamRevocations {
  const lanes = Array.from({ length: REVOCATIONS_AT_ONCE }, () => Promise.resolve());
  let turn = 0;

  /** Our own tokens are dead by now whatever the provider answers, so its failure is logged and nobody's error. */
  async function revoke(grantId: string, refreshToken: string): Promise<void> {
    try {
      await identityProvider.revoke(refreshToken);
    } catch (error) {
      log.warn(
        { reason: "upstream_revocation_failed", grantId, cause: causes(error) },
        "The provider still holds its refresh token",
      );
    }
  }

  return {
    async tell({ id, upstream: { refreshToken } }) {
      if (refreshToken === undefined) return;
      turn = (turn + 1) % REVOCATIONS_AT_ONCE;
      const told = (lanes[turn] ?? Promise.resolve()).then(() => revoke(id, refreshToken));
      lanes[turn] = told;
      track(told);
      await told;
    },
  };
}
