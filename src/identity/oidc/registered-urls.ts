/** What the identity provider is told about this server: where it sends browsers, and where it reports sign-outs. Pure. */

/** @param baseUrl without a slash at its end */
export function registeredUrls(baseUrl: string): { callbackUrl: string; backchannelLogoutUrl: string } {
  return {
    callbackUrl: `${baseUrl}/auth/callback`,
    backchannelLogoutUrl: `${baseUrl}/auth/backchannel-logout`,
  };
}
