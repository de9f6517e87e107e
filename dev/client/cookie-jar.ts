/** The cookies of the scripted browser, kept as Chrome keeps them (RFC 6265bis). SameSite is not modelled. */

interface Cookie {
  name: string;
  value: string;
  domain: string;
  hostOnly: boolean;
  path: string;
  secure: boolean;
  expiresAt: number;
}

export class CookieJar {
  #cookies: Cookie[] = [];

  /** Keeps what one answer of `url` sets, and drops what it expires. */
  store(url: URL, setCookies: readonly string[]): void {
    for (const line of setCookies) {
      const cookie = parse(url, line);
      if (!cookie || !acceptable(url, cookie)) continue;
      this.#cookies = this.#cookies.filter((other) => !sameCookie(cookie, other));
      if (cookie.expiresAt > Date.now()) this.#cookies.push(cookie);
    }
  }

  /** The `Cookie` header for a request; longer paths come first (RFC 6265 §5.4). Ports do not matter. */
  header(url: URL): string | undefined {
    const matching = this.#cookies
      .filter((cookie) => cookie.expiresAt > Date.now() && matches(url, cookie))
      .sort((a, b) => b.path.length - a.path.length);
    return matching.map(({ name, value }) => `${name}=${value}`).join("; ") || undefined;
  }
}

function parse(url: URL, line: string): Cookie | undefined {
  const [pair = "", ...rest] = line.split(";");
  const [name, value] = split(pair);
  if (!name) return undefined;
  const attributes = new Map(rest.map(split).map(([key, text]) => [key.toLowerCase(), text]));
  const domain = attributes.get("domain")?.replace(/^\./, "").toLowerCase();
  const path = attributes.get("path");
  return {
    name,
    value,
    domain: domain || url.hostname,
    hostOnly: !domain,
    path: path?.startsWith("/") ? path : url.pathname.replace(/\/[^/]*$/, "") || "/",
    secure: attributes.has("secure"),
    expiresAt: expiry(attributes.get("max-age"), attributes.get("expires")),
  };
}

function split(text: string): [name: string, value: string] {
  const at = text.indexOf("=");
  return at < 0 ? [text.trim(), ""] : [text.slice(0, at).trim(), text.slice(at + 1).trim()];
}

function expiry(maxAge: string | undefined, expires: string | undefined): number {
  if (maxAge !== undefined) return Date.now() + Number(maxAge) * 1000;
  if (expires !== undefined) return Date.parse(expires);
  return Number.POSITIVE_INFINITY;
}

function acceptable(url: URL, cookie: Cookie): boolean {
  if (!cookie.hostOnly && !domainMatches(url.hostname, cookie.domain)) return false;
  if (cookie.secure && !trustworthy(url)) return false;
  if (cookie.name.startsWith("__Secure-")) return cookie.secure;
  if (cookie.name.startsWith("__Host-")) return cookie.secure && cookie.hostOnly && cookie.path === "/";
  return true;
}

function matches(url: URL, cookie: Cookie): boolean {
  if (cookie.secure && !trustworthy(url)) return false;
  if (cookie.hostOnly ? url.hostname !== cookie.domain : !domainMatches(url.hostname, cookie.domain))
    return false;
  const folder = cookie.path.endsWith("/") ? cookie.path : `${cookie.path}/`;
  return url.pathname === cookie.path || url.pathname.startsWith(folder);
}

function domainMatches(host: string, domain: string): boolean {
  return host === domain || host.endsWith(`.${domain}`);
}

/** Observed in Chromium: Secure, `__Secure-` and `__Host-` cookies work on http loopback addresses. */
function trustworthy(url: URL): boolean {
  return url.protocol === "https:" || /^(localhost|.+\.localhost|127\.[\d.]+|\[::1\])$/.test(url.hostname);
}

function sameCookie(a: Cookie, b: Cookie): boolean {
  return a.name === b.name && a.domain === b.domain && a.path === b.path && a.hostOnly === b.hostOnly;
}
