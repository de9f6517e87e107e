/**
 * An operator's list of redirect URIs that clients may use. A pattern is compared part by part on the parsed URI, so
 * that no spelling of a URI can reach across the border of a part.
 */
import { isLoopbackHost } from "./redirect-uri.ts";

export type RedirectUriPattern = (uri: string) => boolean;

const PATTERN = /^([a-z][a-z0-9+.-]*):(?:\/\/([^/?#@*]+|\*\.[^/?#@*]+)?)?(\/(?!\/)[^?#*]*\*?)?$/;

/**
 * Forms: `https://app.example.com/callback` exactly; `https://*.example.com/…` any subdomain; a path that ends with
 * `/*` any path below it; `http://localhost/…` any port; `cursor://…`, `com.example.app:/*` private-use schemes.
 * @returns undefined if the text is not a pattern
 */
export function parseRedirectUriPattern(text: string): RedirectUriPattern | undefined {
  const [, scheme, authority = "", path = "/"] = PATTERN.exec(text) ?? [];
  if (scheme === undefined) return undefined;
  if (authority === "" && /^https?$/.test(scheme)) return undefined;
  if (authority.startsWith("*.") && authority.split(".").length < 3) return undefined; // "*.com" is everybody
  if (path.endsWith("*") && !path.endsWith("/*")) return undefined; // "/call*" would match "/callsign"
  const matchesHost = hostMatcher(authority);
  const matchesPath = pathMatcher(path);
  return (uri) => {
    const url = new URL(uri);
    return url.protocol === `${scheme}:` && matchesHost(url) && matchesPath(url);
  };
}

function hostMatcher(authority: string): (url: URL) => boolean {
  if (authority.startsWith("*."))
    return ({ host }) => host.endsWith(authority.slice(1)) && host !== authority.slice(2);
  // RFC 8252 §7.3: the port of a loopback URI is chosen by the client at run time.
  if (isLoopbackHost(authority)) return ({ hostname }) => hostname === authority;
  return ({ host }) => host === authority;
}

function pathMatcher(path: string): (url: URL) => boolean {
  if (path.endsWith("/*")) return ({ pathname }) => withSlash(pathname).startsWith(path.slice(0, -1));
  return ({ pathname, search }) => withSlash(pathname) === path && search === "";
}

/** Private-use schemes parse to a path without its slash where there is nothing behind the host. */
function withSlash(pathname: string): string {
  return pathname.startsWith("/") ? pathname : `/${pathname}`;
}
