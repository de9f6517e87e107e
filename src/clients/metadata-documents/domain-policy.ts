/** From which domains a client ID metadata document is accepted (draft §8.9, Client ID Domain Trust). */
import { isIP } from "node:net";

export interface DomainPolicy {
  /** Patterns as {@link parseDomainPattern} gives them. */
  allow: readonly string[] | "any";
  /** Wins over `allow`. */
  deny: readonly string[];
}

/**
 * `example.com` is that host alone; `*.example.com` is every host below it, without itself. Written in any case, in
 * Unicode or with a trailing dot; given back as hosts are compared.
 */
export function parseDomainPattern(text: string): { pattern: string } | { problem: string } {
  const [, wildcard = "", name = ""] = /^(\*\.)?(.*)$/s.exec(text.trim()) ?? [];
  if (name.includes("*"))
    return { problem: `"${text}" has a "*" elsewhere than in a leading "*.", which alone is understood` };
  const host = /[\s/\\:@?#%[\]]/.test(name) ? undefined : canonicalHost(name);
  if (host === undefined)
    return { problem: `"${text}" is not a domain: write it like example.com or *.example.com` };
  if (isIP(host) !== 0) return { problem: `"${text}" is an address: name a domain` };
  if (wildcard !== "" && !host.includes("."))
    return { problem: `"${text}" covers a whole top-level domain: name the domains below it` };
  return { pattern: wildcard + host };
}

/** Why clients of this host are refused, or undefined if they are welcome. */
export function domainRefusal(
  hostname: string,
  { allow, deny }: DomainPolicy,
): "domain_denied" | "domain_not_allowed" | undefined {
  const host = canonicalHost(hostname);
  const matches = (pattern: string) =>
    pattern.startsWith("*.") ? host?.endsWith(pattern.slice(1)) === true : host === pattern;
  if (deny.some(matches)) return "domain_denied";
  return allow === "any" || allow.some(matches) ? undefined : "domain_not_allowed";
}

/** Lower case, punycode, no trailing dot; undefined if it is not a host. */
function canonicalHost(name: string): string | undefined {
  const url = `https://${name}`;
  const host = name !== "" && URL.canParse(url) ? new URL(url).hostname.replace(/\.$/, "") : "";
  return host === "" || host.startsWith(".") || host.includes("..") ? undefined : host;
}
