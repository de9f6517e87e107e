/** POST /revoke (RFC 7009): either token of a family ends the grant. */
import { setTimeout as delay } from "node:timers/promises";
import type { AuthenticatedClient } from "../clients/authenticate-client.ts";
import type { Grant } from "../grants/grant.ts";
import type { Grants } from "../grants/grants.ts";
import { belongsToFamily, readToken } from "../grants/opaque-token.ts";
import type { Runtime } from "../runtime/runtime.ts";

// Our own tokens have ended by then; a provider that hangs must not delay the answer.
const PROVIDER_MS = 2_000;

/** An unknown token and somebody else's token change nothing and look the same (RFC 7009 §2.2). */
export async function revokeToken(
  client: AuthenticatedClient,
  token: string,
  { grants, log }: Pick<Runtime, "log"> & { grants: Grants },
): Promise<void> {
  const presented = readToken("refresh", token) ?? readToken("access", token);
  const grant = presented && (await grants.find(presented.grantId));
  // Clients that sign out revoke one token after the other: the first revocation has ended the grant of the second.
  if (presented !== undefined && grant === undefined) {
    log.debug(
      { reason: "already_ended", clientId: client.client_id },
      "Nothing to revoke: the token's session has already ended",
    );
    return;
  }
  if (
    grant === undefined ||
    grant.client.id !== client.client_id ||
    !isTokenOf(grant, token, presented?.hash)
  ) {
    log.info(
      { reason: "nothing_to_revoke", clientId: client.client_id },
      "Revocation of a token that is not this client's",
    );
    return;
  }
  const ended = await grants.end(grant.id, "revoked_by_client");
  await Promise.race([ended?.atProvider, delay(PROVIDER_MS, undefined, { ref: false })]);
}

function isTokenOf(grant: Grant, token: string, hash: string | undefined): boolean {
  if (readToken("refresh", token) !== undefined) return belongsToFamily(token, grant.familyKey);
  return grant.accessTokens.some((issued) => issued.hash === hash);
}
