/** What has to be entered at the identity provider, and where one finds it there. */

import { registeredUrls } from "../../identity/oidc/registered-urls.ts";
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
  return {
    ...registeredUrls(baseUrl),
    steps: upstream?.preset === "auth0" ? auth0(upstream, scopes) : general(upstream, scopes),
  };
}

function auth0({ audience, issuer }: IdentityProviderSettings, scopes: readonly string[]): string[] {
  return [
    `Applications → APIs → Create API, Identifier ${audience ?? ""}, RS256; under Permissions: ${scopes.join(", ") || "nothing"}; under Settings: Allow Offline Access.`,
    `Applications → Create Application → Regular Web Application (not a Single Page Application: it can keep no secret). Its Domain is ${new URL(issuer).hostname}.`,
    "There under Settings → Allowed Callback URLs: the callback URL above, and nothing with a * in it.",
    "There under Advanced Settings → Grant Types: Authorization Code and Refresh Token.",
  ];
}

function general(upstream: IdentityProviderSettings | undefined, scopes: readonly string[]): string[] {
  const sources = upstream?.scopeSources;
  const isElsewhere = sources?.kind === "consent" || sources?.claim !== undefined;
  const asksForScopes = !isElsewhere && scopes.length > 0;
  return [
    "A confidential client (“web application”, client authentication on) with the authorization code flow and refresh tokens.",
    "Its redirect URI: the callback URL above, exactly, without wildcards.",
    ...(asksForScopes ? [`The scopes of the tools, for those who may have them: ${scopes.join(", ")}.`] : []),
    "Its client id and secret go into OIDC_CLIENT_ID and OIDC_CLIENT_SECRET, the issuer into OIDC_ISSUER.",
  ];
}
