/** Revokes at the identity provider what it gave for grants that have ended. */

import type { IdentityProvider } from "../identity/identity-provider.ts";
import { causes } from "../oauth/errors.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Grant } from "./grant.ts";

export interface UpstreamRevocations {
  /**
   * Resolves when the provider has answered, or could not be reached, or there is nothing to revoke; never rejects. Nobody has
   * to wait for it.
   */
  revoke(grant: Pick<Grant, "id" | "principal" | "upstream">): Promise<void>;
}

interface Dependencies extends Pick<Runtime, "log"> {
  identityProviders: { ofIssuer(issuer: string): Pick<IdentityProvider, "revoke"> | undefined };
  /** See {@link ../runtime/shutdown.ts Shutdown.waitUntil}. */
  waitUntil?(work: Promise<unknown>): void;
}

// A provider would refuse most of a hundred concurrent requests.
const REVOCATIONS_AT_ONCE = 4;
// Somebody ended all grants of a client, and the provider hangs: what waits for it must not fill the memory.
const MOST_WAITING = 20_000;
const STILL_HELD = "The provider still holds its refresh token";

interface Waiting {
  grantId: string;
  provider: Pick<IdentityProvider, "revoke">;
  refreshToken: string;
  over(): void;
}

export function createUpstreamRevocations({
  identityProviders,
  log,
  waitUntil = () => {},
}: Dependencies): UpstreamRevocations {
  const waiting: Waiting[] = [];
  let busy = 0;

  /** Our own tokens have ended by now whatever the provider answers, so its failure is logged and reaches no caller. */
  async function send({ grantId, provider, refreshToken }: Waiting): Promise<void> {
    try {
      await provider.revoke(refreshToken);
    } catch (error) {
      log.warn({ reason: "upstream_revocation_failed", grantId, cause: causes(error) }, STILL_HELD);
    }
  }

  async function work(): Promise<void> {
    busy++;
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      await send(next);
      next.over();
    }
    busy--;
  }

  return {
    async revoke({ id: grantId, principal, upstream }) {
      const refreshToken = upstream?.refreshToken;
      if (refreshToken === undefined || principal.kind !== "user") return;
      const provider = identityProviders.ofIssuer(principal.issuer);
      if (provider === undefined) {
        const cause = `${principal.issuer} is not configured any more`;
        log.warn({ reason: "upstream_revocation_failed", grantId, cause }, STILL_HELD);
        return;
      }
      if (waiting.length >= MOST_WAITING) {
        const cause = `${MOST_WAITING} others are waiting for the provider`;
        log.warn({ reason: "upstream_revocation_failed", grantId, cause }, STILL_HELD);
        return;
      }
      const revoked = new Promise<void>((over) => waiting.push({ grantId, provider, refreshToken, over }));
      waitUntil(revoked);
      if (busy < REVOCATIONS_AT_ONCE) void work();
      await revoked;
    },
  };
}
