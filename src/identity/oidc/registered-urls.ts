/** The URLs of this server that are registered at the identity provider: callback and back-channel logout. Pure. */

/**
 * Those of one provider.
 * @param baseUrl without a slash at its end
 * @param provider its name; absent: the default provider
 */
export function registeredUrls(
  baseUrl: string,
  provider?: string,
): { callbackUrl: string; backchannelLogoutUrl: string } {
  return {
    callbackUrl: callbackUrl(baseUrl, provider),
    backchannelLogoutUrl: `${baseUrl}/auth/backchannel-logout`,
  };
}

/** See {@link registeredUrls}. */
export function callbackUrl(baseUrl: string, provider: string | undefined): string {
  return `${baseUrl}/auth/callback${provider === undefined ? "" : `/${provider}`}`;
}
