/**
 * Does the server behind BASE_URL see the client's own address? It is asked itself, by a request that only a holder of
 * SECRET_KEY can make: twice, the second time with a forged X-Forwarded-For, as somebody would who wants to be another.
 */
import { networkInterfaces } from "node:os";
import { askForView, DOCTOR_HEADER, DOCTOR_VIEW_PATH, DoctorView } from "../../http/doctor-view.ts";
import { createSealer } from "../../storage/sealer.ts";
import { ask } from "./ask.ts";
import type { Deployment } from "./deployment.ts";
import { checkOf, type Finding } from "./finding.ts";

const found = checkOf("address.proxy_headers");
/** Of TEST-NET-1 (RFC 5737): nobody has it. */
export const FORGED = "192.0.2.77";

export async function checkProxyHeaders(
  { secretKeys, now, patience }: Deployment,
  baseUrl: string,
): Promise<Finding | undefined> {
  if (secretKeys.length === 0) return undefined;
  const sealer = createSealer(secretKeys);
  const view = async (more: Record<string, string> = {}) => {
    const headers = { [DOCTOR_HEADER]: askForView(sealer, now()), ...more };
    const answer = await ask(`${baseUrl}${DOCTOR_VIEW_PATH}`, { headers, timeoutMs: patience.answerMs });
    return DoctorView.safeParse(answer.document).data;
  };
  const [plain, forged] = await Promise.all([view(), view({ "x-forwarded-for": FORGED })]);
  if (plain === undefined || forged === undefined)
    return found`? Could not tell how requests arrive: the server at BASE_URL does not recognize this doctor's signature
      → Run the doctor with the SECRET_KEY of that server, from the same release, and with a clock that is right. If several servers answer there, give all of them the same SECRET_KEY.`;
  const own = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const ownAddresses = own.map(({ address }) => address);
  return judgeViews(plain, forged, { isHttps: baseUrl.startsWith("https:"), ownAddresses });
}

/** What is known here of the way there. */
export interface Way {
  /** Of BASE_URL. This server speaks no TLS, so then there is a proxy. */
  isHttps: boolean;
  /** Of this computer. */
  ownAddresses: readonly string[];
}

/** Pure. */
export function judgeViews(plain: DoctorView, forged: DoctorView, way: Way): Finding {
  const peer = withoutMapping(plain.peer);
  const named = entries(plain);
  if (forged.address === FORGED) return judgeForgery(forged, named.length > 0, way);
  if (named.length > 0 && plain.address === plain.peer)
    return found`! A proxy at ${peer} names clients in X-Forwarded-For, and the server does not believe it: all users share one address's limits
      → Set TRUSTED_PROXIES=${peer} for the server (or the range that its proxies come from), and restart it.`;
  if (named.length > 1 && plain.address !== named[0])
    return found`! Requests come through ${named.length} proxies, and the server takes one of them, ${plain.address}, for the client
      → Add ${plain.address} (or its range) to TRUSTED_PROXIES, if that is a proxy of yours, and restart the server.`;
  if (named.length === 0 && (way.isHttps || forged.forwardedFor !== FORGED))
    return found`! The proxy at ${peer} does not name clients in X-Forwarded-For: all users share one address's limits
      → Let the proxy set X-Forwarded-For to the client's address, and name the proxy in TRUSTED_PROXIES.`;
  const how = named.length === 0 ? "directly" : "through its proxy";
  return found`✓ The server sees clients' addresses ${how} (this computer as ${plain.address}), and a forged X-Forwarded-For does not count`;
}

/** Believed: because anybody could do it, or because this computer's own address is one of those that are trusted? */
function judgeForgery(forged: DoctorView, isNamed: boolean, { isHttps, ownAddresses }: Way): Finding {
  const peer = withoutMapping(forged.peer);
  const added = entries(forged)[entries(forged).indexOf(FORGED) + 1];
  // Who the forged header came from, as somebody after it says; without a proxy, whoever connected.
  const from = added ?? (isHttps ? undefined : peer);
  if (from !== undefined && ownAddresses.includes(withoutMapping(from)))
    return found`? Could not tell whether a forged X-Forwarded-For counts: this computer itself (${from}) is one of TRUSTED_PROXIES
      → Run the doctor from another computer, or see that TRUSTED_PROXIES names only what stands before the server.`;
  const fix = isNamed
    ? "Let the proxy add the client's address to X-Forwarded-For, or replace it, instead of passing on what clients send; and let TRUSTED_PROXIES name proxies only."
    : `Take ${peer} out of TRUSTED_PROXIES, or let the proxy there set X-Forwarded-For to the client's address (nginx: $proxy_add_x_forwarded_for).`;
  return found`✗ Anybody can choose the address that the server takes them to have: a forged X-Forwarded-For was believed
    → ${fix}`;
}

const entries = ({ forwardedFor }: DoctorView): string[] =>
  forwardedFor?.split(",").map((entry) => entry.trim()) ?? [];

/** IPv4 as a socket for both kinds of address shows it. */
const withoutMapping = (address: string): string => address.replace(/^::ffff:/, "");
