/** The certificate that clients see at a public address. */
import { once } from "node:events";
import { connect } from "node:tls";
import { certificateProblem, codeOf } from "./ask.ts";
import { checkOf, type Finding, plural } from "./finding.ts";

const found = checkOf("address.certificate");
const DAY_MS = 86_400_000;
// Automatic renewal begins a month before the end; two weeks later it has evidently failed.
const SOON_DAYS = 14;

/** @param nowMs milliseconds since the epoch */
export async function checkCertificate(
  baseUrl: string,
  nowMs: number,
  timeoutMs: number,
): Promise<Finding | undefined> {
  const url = new URL(baseUrl);
  if (url.protocol !== "https:") return undefined;
  try {
    return judgeCertificate(await certificateOf(url, timeoutMs), url.hostname, nowMs);
  } catch (error) {
    const code = codeOf(error);
    // That nobody answers is said by the check of the address itself.
    if (["ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED"].includes(code)) return undefined;
    return found`? The certificate of ${url.host} could not be read (${code || (error as Error).message})
      → Check that TLS is spoken there: openssl s_client -connect ${url.hostname}:${url.port || 443} -servername ${url.hostname}`;
  }
}

export interface SeenCertificate {
  /** Milliseconds since the epoch. */
  validTo: number;
  /** OpenSSL's code, if it is not to be trusted. */
  problem: string | undefined;
}

async function certificateOf({ hostname, port }: URL, timeoutMs: number): Promise<SeenCertificate> {
  const host = hostname.replace(/^\[|\]$/g, "");
  // An invalid certificate is to be reported, not to end the connection.
  const socket = connect({ host, port: Number(port || 443), servername: host, rejectUnauthorized: false });
  const limit = setTimeout(() => socket.destroy(new Error("no answer in time")), timeoutMs).unref();
  try {
    await once(socket, "secureConnect");
    // Its type is Error; in some versions of Node it is the code itself.
    const error = socket.authorizationError as Error | string | null | undefined;
    const problem = error instanceof Error ? codeOf(error) : (error ?? undefined);
    return { validTo: Date.parse(socket.getPeerCertificate().valid_to), problem };
  } finally {
    clearTimeout(limit);
    socket.destroy();
  }
}

/** Pure. */
export function judgeCertificate(
  { validTo, problem }: SeenCertificate,
  host: string,
  nowMs: number,
): Finding {
  const days = Math.floor((validTo - nowMs) / DAY_MS);
  const until = new Date(validTo).toISOString().slice(0, 10);
  if (problem !== undefined) {
    const known = certificateProblem(problem);
    const expired = problem === "CERT_HAS_EXPIRED" ? ` (on ${until})` : "";
    return found`✗ The certificate of ${host} ${known?.says ?? `is not valid: ${problem}`}${expired}
      → ${known?.fix ?? "Replace the certificate at the reverse proxy."}`;
  }
  if (days < SOON_DAYS)
    return found`! The certificate of ${host} ends in ${plural(days, "day")} (${until})
      → Renew it, and see why it did not renew by itself.`;
  return found`✓ The certificate of ${host} is valid for ${days} more days (until ${until})`;
}
