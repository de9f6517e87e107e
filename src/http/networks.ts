/** The networks that an address belongs to, for limits and budgets. */
import ipaddr from "ipaddr.js";

/** Addresses that may all be one person's. */
export interface Network {
  key: string;
  /** How many times the limit of a single address it has. */
  times: number;
}

/**
 * An IPv4 address is one. Of IPv6 a household has a /64 or a /56, and who asks for it a /48 (RFC 6177): counted at each,
 * so that 65,536 networks of one person are not 65,536 persons. Most precise first.
 */
const IPV6_LEVELS = [
  { bytes: 8, times: 1 },
  { bytes: 7, times: 2 },
  { bytes: 6, times: 4 },
] as const;

/** Of an IPv4 client that a NAT64 translates, the last 32 bits are its own address (RFC 6052 §2.1, §2.2). */
const NAT64 = ipaddr.IPv6.parseCIDR("64:ff9b::/96");

/** The networks that an address belongs to. IPv4 inside of IPv6 is IPv4. */
export function networksOf(address: string): Network[] {
  if (!ipaddr.isValid(address)) return [{ key: address, times: 1 }];
  const parsed = ipaddr.process(address);
  if (parsed.kind() === "ipv4") return [{ key: parsed.toString(), times: 1 }];
  const bytes = parsed.toByteArray();
  if (parsed.match(NAT64)) return [{ key: bytes.slice(12).join("."), times: 1 }];
  return IPV6_LEVELS.map((level) => ({ key: bytes.slice(0, level.bytes).join("."), times: level.times }));
}
