/** Resource indicators (RFC 8707): which resource a request names, and whether it is ours. */

/** Scheme and host in lower case, no trailing slash; undefined for what RFC 8707 §2 does not allow. */
export function canonicalResource(uri: string): string | undefined {
  if (!URL.canParse(uri) || uri.includes("#")) return undefined;
  const url = new URL(uri);
  if (url.username !== "" || url.password !== "") return undefined;
  return url.href.replace(/\/$/, "");
}

/** True if every named resource is `ours`, spelled in any of the ways that real clients do. */
export function namesResource(requested: readonly string[], ours: string): boolean {
  const canonical = canonicalResource(ours);
  return requested.every((uri) => canonicalResource(uri) === canonical);
}
