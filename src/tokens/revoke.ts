/** Ends grants at somebody's wish, here and at the provider. POST /revoke (RFC 7009): either token of a family does. */
import type { AuthenticatedClient } from "../clients/authenticate-client.ts";
import { causes } from "../oauth/errors.ts";
import type { Surroundings } from "../surroundings.ts";
import type { IdentityProvider } from "../upstream/identity-provider.ts";
import type { Grant } from "./grant.ts";
import type { GrantEnd, Grants } from "./grants.ts";
import { belongsToFamily, readToken } from "./opaque-token.ts";

interface Rooms {
  grants: Grants;
  identityProvider: IdentityProvider;
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
  { grants, identityProvider, log }: Surroundings & Rooms,
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

/** An unknown token and somebody else's token change nothing and look the same (RFC 7009 §2.2). */
export async function revokeToken(
  client: AuthenticatedClient,
  token: string,
  rooms: Surroundings & Rooms,
): Promise<void> {
  const { grants, log } = rooms;
  const presented = readToken("refresh", token) ?? readToken("access", token);
  const grant = presented && (await grants.find(presented.grantId));
  if (
    grant === undefined ||
    grant.clientId !== client.client_id ||
    !isTokenOf(grant, token, presented?.hash)
  ) {
    log.info(
      { reason: "nothing_to_revoke", clientId: client.client_id },
      "Revocation of a token that is not this client's",
    );
    return;
  }
  const { atProvider } = await endGrants([grant.id], "revoked_by_client", rooms);
  await atProvider;
}

function isTokenOf(grant: Grant, token: string, hash: string | undefined): boolean {
  if (readToken("refresh", token) !== undefined) return belongsToFamily(token, grant.familyKey);
  return grant.accessTokens.some((issued) => issued.hash === hash);
}

/** Our own tokens are dead by now whatever the provider answers, so its failure is logged and not the client's. */
async function revokeUpstream(
  grant: Grant,
  identityProvider: IdentityProvider,
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
