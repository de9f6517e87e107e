/**
 * Redirect URIs: which may be registered, and which registered one a request means. Nothing is ever redirected to
 * a string that did not pass through here.
 */
import { z } from "zod";

/** A redirect URI that was found valid for the client it belongs to. */
export const ValidatedRedirectUri = z.string().brand<"ValidatedRedirectUri">();
export type ValidatedRedirectUri = z.infer<typeof ValidatedRedirectUri>;

const MAX_LENGTH = 2048;

// Schemes a browser acts on by itself; none of them can be a native application's own (RFC 8252 §7.1).
const DANGEROUS_SCHEMES = new Set(
  "about blob chrome chrome-extension data file filesystem ftp ftps gopher intent jar javascript mailto ms-msdt search search-ms sms ssh tel vbscript view-source ws wss".split(
    " ",
  ),
);

const LOOPBACK_HOST = /^(?:localhost|127\.0\.0\.1|\[::1\])$/;

/**
 * Private-use schemes are reversed domain names (RFC 8252 §7.1). Whatever else has a scheme, browsers hand to some other
 * program: a file share, an installer, an office suite (§8.4).
 */
const REVERSED_DOMAIN_NAME = /^(?:[a-z]{2,}|xn--[a-z0-9-]+)(?:\.[a-z0-9-]+)+$/;

// Applications with MCP clients, or with extensions that are one, whose scheme is older than that rule.
const KNOWN_SCHEMES = new Set(
  "antigravity claude codex cursor kiro trae vscode vscode-insiders vscodium warp windsurf".split(" "),
);

/** Scheme and host of a loopback URI, an optional port, and the rest: the port is free (RFC 8252 §7.3). */
const LOOPBACK_URI = /^(http:\/\/(?:localhost|127\.0\.0\.1|\[::1\]))(?::\d{1,5})?((?:[/?].*)?)$/s;

/** True where `http` is acceptable: this computer only, by its three names. */
export function isLoopbackHost(hostname: string): boolean {
  return LOOPBACK_HOST.test(hostname);
}

/** The part of a redirect URI that says to whom a browser is sent. */
export function destination(redirectUri: string): string {
  const url = new URL(redirectUri);
  return url.host === "" ? url.protocol : `${url.protocol}//${url.host}`;
}

/** True where that is this computer, and no site of anybody's. */
export function isThisComputer(redirectUri: string): boolean {
  return isLoopbackHost(new URL(redirectUri).hostname);
}

/**
 * Why a URI may not be registered, or undefined if it may: https anywhere, http on loopback, or a native
 * application's private-use scheme (OAuth 2.1 §2.3.1, RFC 8252 §7).
 */
export function redirectUriProblem(uri: string): string | undefined {
  if (uri.length > MAX_LENGTH) return `is longer than ${MAX_LENGTH} characters`;
  // Browsers drop or rewrite these before they resolve a URI, so what was checked would not be where they go.
  if (/[^\x21-\x7e]|\\/.test(uri)) return "contains spaces, backslashes, control or non-ASCII characters";
  if (uri.includes("#")) return "has a fragment";
  if (!URL.canParse(uri)) return "is not an absolute URI";
  const url = new URL(uri);
  const scheme = url.protocol.slice(0, -1);
  if (DANGEROUS_SCHEMES.has(scheme)) return `uses the scheme "${scheme}:", which no application can own`;
  // Looked for in the text: an empty user name leaves no trace in the parsed URL.
  if (/^[^:]*:\/\/[^/?]*@/.test(uri)) return "carries a user name or password";
  if (url.hostname.includes("*")) return "has a wildcard in its host";
  if (/(?:^|\/)(?:\.|%2e){1,2}(?:\/|$)/i.test(uri.slice(scheme.length + 1).split("?")[0] ?? ""))
    return "has dot segments in its path";
  if (scheme === "http" && !LOOPBACK_URI.test(uri))
    return "is http on a host that is not this computer: use https";
  if ((scheme === "https" || scheme === "http") && !/^https?:\/\/[^/]/i.test(uri)) return "names no host";
  return undefined;
}

/** Why nobody but the operator can say that this scheme belongs to an application, or undefined. */
function schemeProblem(uri: string): string | undefined {
  const scheme = new URL(uri).protocol.slice(0, -1);
  if (/^https?$/.test(scheme) || KNOWN_SCHEMES.has(scheme) || REVERSED_DOMAIN_NAME.test(scheme))
    return undefined;
  return `uses the scheme "${scheme}:", which is no application's own: use the reversed name of a domain that you have, such as com.example.app:, or ask the operator to allow it`;
}

/**
 * Why a redirect URI may not be used here, or undefined if it may.
 * @param by who named it; the operator may name any scheme that browsers do not act on
 */
export type RedirectUriPolicy = (uri: string, by?: "operator" | "client") => string | undefined;

/** The rules for all, and where the operator listed what clients may use, that list. */
export function redirectUriPolicy(allowed: ReadonlyArray<(uri: string) => boolean>): RedirectUriPolicy {
  return (uri, by = "client") => {
    const problem = redirectUriProblem(uri);
    if (problem !== undefined || allowed.some((matches) => matches(uri))) return problem;
    if (allowed.length > 0) return "is not among those that the operator of this server allows";
    return by === "operator" ? undefined : schemeProblem(uri);
  };
}

/**
 * The registered redirect URI that a request means: exact string comparison, except for the port of a loopback URI
 * (OAuth 2.1 §4.1.3, RFC 8252 §7.3). With none requested, the only registered one.
 */
export function matchRedirectUri(
  registered: readonly string[],
  requested: string | undefined,
  policy: (uri: string) => string | undefined,
): ValidatedRedirectUri | undefined {
  const [only, ...others] = registered;
  const meant = requested ?? (others.length === 0 ? only : undefined);
  if (meant === undefined || !registered.some((uri) => sameRedirectUri(uri, meant))) return undefined;
  // A URI that was registered before the rules became stricter is checked by today's rules.
  return policy(meant) === undefined ? ValidatedRedirectUri.parse(meant) : undefined;
}

function sameRedirectUri(registered: string, requested: string): boolean {
  if (registered === requested) return true;
  const [, ourOrigin, ourRest] = LOOPBACK_URI.exec(registered) ?? [];
  const [, theirOrigin, theirRest] = LOOPBACK_URI.exec(requested) ?? [];
  return ourOrigin !== undefined && ourOrigin === theirOrigin && ourRest === theirRest;
}
