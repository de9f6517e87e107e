/** The grant types that this server offers, in the order in which its metadata name them. To add one, add it here. */
import type { GrantType } from "./grant-type.ts";
import { authorizationCode } from "./grant-types/authorization-code.ts";
import { refreshToken } from "./grant-types/refresh-token.ts";

export const GRANT_TYPES: readonly GrantType[] = [authorizationCode, refreshToken];
