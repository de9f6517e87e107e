/** Certificates that end, unless somebody renews them. */
import { once } from "node:events";
import { connect } from "node:tls";
import { counted } from "../../runtime/counted.ts";
import { checkOf, type Finding } from "./finding.ts";

// Automatic renewal begins a month before the end; two weeks later it has evidently failed.
const SOON_DAYS = 14;

/** That which clients see at a public address where https answers; one that nobody accepts is known from asking there. */
export async function checkCertificate(
  baseUrl: string,
  now: number,
  timeoutMs: number,
): Promise<Finding | undefined> {
  const { protocol, hostname, port } = new URL(baseUrl);
  if (protocol !== "https:") return undefined;
  const host = hostname.replace(/^\[|\]$/g, "");
  const socket = connect({ host, port: Number(port || 443), servername: host });
  try {
    await once(socket, "secureConnect", { signal: AbortSignal.timeout(timeoutMs) });
    return judgeCertificate(socket.getPeerCertificate().valid_to, hostname, now);
  } finally {
    socket.destroy();
  }
}

/** Pure. */
export function judgeCertificate(validTo: string, host: string, now: number): Finding {
  const found = checkOf("address.certificate");
  const { days, day } = endOf(validTo, now);
  if (days >= SOON_DAYS)
    return found`✓ The certificate of ${host} is valid for ${days} more days (until ${day})`;
  return found`! The certificate of ${host} ends in ${counted(days, "day")} (${day})
    → Renew it, and see why it did not renew by itself.`;
}

/** On which day, and in how many whole ones. @param now seconds since the epoch */
export function endOf(validTo: string, now: number): { days: number; day: string } {
  const end = new Date(validTo);
  return { days: Math.floor((end.getTime() / 1000 - now) / 86_400), day: end.toISOString().slice(0, 10) };
}
