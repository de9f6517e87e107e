/** Where an error may be sent before the user was asked. */
import type { Client } from "../oauth/client-metadata.ts";
import { isThisComputer, type ValidatedRedirectUri } from "../oauth/redirect-uri.ts";

/** The operator's settings for redirect URIs and for the domains of metadata documents. */
export interface RedirectTrustSettings {
  redirectUriPatterns: readonly unknown[];
  clientIdMetadata: { domains: { allow: unknown } };
}

/** Whether a browser may be redirected without showing a page. */
export type RedirectTrust = (
  client: Pick<Client, "provenance">,
  redirectUri: ValidatedRedirectUri,
) => boolean;

/**
 * RFC 9700 §4.11.2: anybody can register a client, or write a document, and make a link to this server that is refused: if
 * that sent browsers on, it would be an open redirector. Trusted is what the operator named, and this computer, which is
 * nobody's site, and where programs wait in a terminal.
 */
export function redirectTrust({
  redirectUriPatterns,
  clientIdMetadata,
}: RedirectTrustSettings): RedirectTrust {
  const documentsAreChosen = clientIdMetadata.domains.allow !== "any";
  return ({ provenance }, redirectUri) =>
    provenance === "configured" ||
    (provenance === "document" && documentsAreChosen) ||
    // Where there is a list, nothing else is validated.
    redirectUriPatterns.length > 0 ||
    (/^https?:/.test(redirectUri) && isThisComputer(redirectUri));
}
