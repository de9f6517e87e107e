/** The URLs of this server that are registered at the identity provider: callback and back-channel logout. Pure. */

/** @param baseUrl without a slash at its end */
export function registeredUrls(baseUrl: string): { callbackUrl: string; backchannelLogoutUrl: string } {
  return {
    callbackUrl: `${baseUrl}/auth/callback`,
    backchannelLogoutUrl: `${baseUrl}/auth/backchannel-logout`,
  };
}
