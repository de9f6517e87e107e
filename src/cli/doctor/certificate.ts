/** The certificate that clients see at a public address. */
import { connect, type PeerCertificate } from "node:tls";
import { CERTIFICATE_PROBLEMS, codeOf } from "./ask.ts";
import { checkOf, type Finding, plural } from "./finding.ts";

const { ok, warning, failure, unknown } = checkOf("address.certificate");
const DAY_MS = 86_400_000;
// Automatic renewal begins a month before the end; two weeks later it has evidently failed.
const SOON_DAYS = 14;

/** @param nowMs milliseconds since the epoch */
export async function checkCertificate(
  baseUrl: string,
  nowMs: number,
  timeoutMs: number,
): Promise<Finding[]> {
  const url = new URL(baseUrl);
  if (url.protocol !== "https:") return [];
  try {
    return [judgeCertificate(await certificateOf(url, timeoutMs), url.hostname, nowMs)];
  } catch (error) {
    // That nobody answers is said by the check of the address itself.
    const code = codeOf(error);
    if (["ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED"].includes(code)) return [];
    return [
      unknown(
        `The certificate of ${url.host} could not be read (${code || (error as Error).message})`,
        `Check that TLS is spoken there: openssl s_client -connect ${url.hostname}:${url.port || 443} -servername ${url.hostname}`,
      ),
    ];
  }
}

export interface SeenCertificate {
  /** Milliseconds since the epoch. */
  validTo: number;
  /** OpenSSL's code, if it is not to be trusted. */
  problem: string | undefined;
}

function certificateOf({ hostname, port }: URL, timeoutMs: number): Promise<SeenCertificate> {
  const host = hostname.replace(/^\[|\]$/g, "");
  return new Promise((resolve, reject) => {
    // An invalid certificate is to be reported, not to end the connection.
    const socket = connect({ host, port: Number(port || 443), servername: host, rejectUnauthorized: false });
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error("no answer in time")));
    const limit = setTimeout(() => socket.destroy(new Error("no answer in time")), timeoutMs).unref();
    socket.once("error", reject);
    socket.once("close", () => clearTimeout(limit));
    socket.once("secureConnect", () => {
      const { valid_to: validTo } = socket.getPeerCertificate() as PeerCertificate;
      const error = socket.authorizationError as Error | string | null | undefined;
      const problem = error instanceof Error ? (error as NodeJS.ErrnoException).code : (error ?? undefined);
      socket.destroy();
      resolve({ validTo: Date.parse(validTo), problem: problem ?? undefined });
    });
  });
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
    const known = CERTIFICATE_PROBLEMS[problem];
    const expired = problem === "CERT_HAS_EXPIRED" ? ` (on ${until})` : "";
    return failure(
      `The certificate of ${host} ${known?.says ?? `is not valid: ${problem}`}${expired}`,
      known?.fix ?? "Replace the certificate at the reverse proxy.",
    );
  }
  if (days < SOON_DAYS)
    return warning(
      `The certificate of ${host} ends in ${plural(days, "day")} (${until})`,
      "Renew it, and see why it did not renew by itself.",
    );
  return ok(`The certificate of ${host} is valid for ${days} more days (until ${until})`);
}
