/** What has to be entered at the identity provider, and where one finds it there. */

import { registeredUrls } from "../../identity/oidc/registered-urls.ts";
import { generic } from "../../identity/profiles/generic.ts";
import { profileOf } from "../../identity/profiles/profiles.ts";
import type { IdentityProviderSettings } from "../../identity/settings.ts";

export interface Registration {
  callbackUrl: string;
  backchannelLogoutUrl: string;
  /** What to do there, in order. */
  steps: readonly string[];
}

export function registration(
  baseUrl: string,
  upstream: IdentityProviderSettings | undefined,
  scopes: readonly string[],
): Registration {
  const { setup } = upstream === undefined ? generic : profileOf(upstream);
  return {
    ...registeredUrls(baseUrl),
    steps: setup.registration(upstream, scopes),
  };
}
