/** The grant types that this server has, in the order in which its metadata name them. To add one, add it here. */
import type { TrustedIssuer } from "../issuers/trusted-issuer.ts";
import type { Client } from "../oauth/client-metadata.ts";
import type { GrantType } from "./grant-type.ts";
import { authorizationCode } from "./grant-types/authorization-code.ts";
import { clientCredentials } from "./grant-types/client-credentials.ts";
import { jwtBearer } from "./grant-types/jwt-bearer.ts";
import { refreshToken } from "./grant-types/refresh-token.ts";

const GRANT_TYPES: readonly GrantType[] = [authorizationCode, refreshToken, clientCredentials, jwtBearer];

/**
 * Those that are offered: one that the operator has to give to a client is there if a client has it, and assertions are
 * accepted if there is somebody to make them.
 */
export function offeredGrantTypes({
  clients: configured,
  issuers,
}: {
  clients: readonly Pick<Client, "grant_types">[];
  issuers: readonly Pick<TrustedIssuer, "accept">[];
}): readonly GrantType[] {
  return GRANT_TYPES.filter(({ name, clients }) => {
    if (clients === "configured") return configured.some(({ grant_types }) => grant_types.includes(name));
    return clients !== "none" || issuers.some(({ accept }) => accept !== "access-token");
  });
}
