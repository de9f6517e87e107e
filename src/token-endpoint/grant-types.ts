/** The grant types that this server has, in the order in which its metadata name them. To add one, add it here. */
import type { Client } from "../oauth/client-metadata.ts";
import type { GrantType } from "./grant-type.ts";
import { authorizationCode } from "./grant-types/authorization-code.ts";
import { clientCredentials } from "./grant-types/client-credentials.ts";
import { refreshToken } from "./grant-types/refresh-token.ts";

const GRANT_TYPES: readonly GrantType[] = [authorizationCode, refreshToken, clientCredentials];

/** Those that are offered: one that the operator has to give to a client is there if a client has it. */
export function offeredGrantTypes(configured: readonly Pick<Client, "grant_types">[]): readonly GrantType[] {
  return GRANT_TYPES.filter(
    ({ name, clients }) =>
      clients !== "configured" || configured.some(({ grant_types }) => grant_types.includes(name)),
  );
}
