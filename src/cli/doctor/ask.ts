/** One HTTP request of the doctor. It ends in time, and that nothing came back is an answer, too. */
import { boundedText } from "../../identity/oidc/bounded-response.ts";
import { causes } from "../../oauth/errors.ts";
import { parseJsonObject } from "../../oauth/json.ts";
import { type Trouble, trouble } from "./finding.ts";

export interface Answer {
  /** 0: nothing came back. */
  status: number;
  headers: Headers;
  text: string;
  /** The JSON object of an answer with status 200. */
  document?: Record<string, unknown> | undefined;
  /** Until the answer came. */
  tookSeconds: number;
  silence?: Silence;
}

/** Why nothing came back, and what to do about it. */
export interface Silence extends Trouble {
  kind: "refused" | "timeout" | "certificate" | "other";
}

type Question = RequestInit & { timeoutMs: number; headers?: Record<string, string> };

/** Redirects are not followed: where one leads is an answer. */
export async function ask(url: string, { timeoutMs, headers: more, ...rest }: Question): Promise<Answer> {
  const startedAt = performance.now();
  const sent = { "user-agent": "mcp-oidc-proxy-doctor", accept: "application/json", ...more };
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch(url, { redirect: "manual", ...rest, headers: sent, signal });
    const tookSeconds = (performance.now() - startedAt) / 1000;
    const { status, headers } = response;
    const text = (await boundedText(response)) ?? "";
    return {
      status,
      headers,
      text,
      document: status === 200 ? parseJsonObject(text) : undefined,
      tookSeconds,
    };
  } catch (error) {
    const silence = silenceOf(error, new URL(url), timeoutMs);
    return { status: 0, headers: new Headers(), text: "", tookSeconds: 0, silence };
  }
}

const as =
  (kind: Silence["kind"]) =>
  (...words: Parameters<typeof trouble>): Silence => ({ kind, ...trouble(...words) });
const other = as("other");

/** The codes of Node, of its DNS and of OpenSSL, in words. */
function silenceOf(error: unknown, { origin, host, hostname }: URL, timeoutMs: number): Silence {
  const code = codeOf(error);
  const certificate = certificateProblem(code);
  if (certificate !== undefined)
    return as("certificate")`the certificate of ${host} ${certificate.says}
      → ${certificate.fix}`;
  if (code.startsWith("ERR_SSL") || code === "EPROTO")
    return other`${host} does not speak TLS as it should (${code})
      → Check that ${host} is the https port, and not one that speaks plain http.`;
  if (code === "ECONNREFUSED")
    return as("refused")`nothing listens at ${host}
      → Start what should answer at ${host}, or correct the host and port.`;
  if (/TIMEDOUT|TIMEOUT/.test(code))
    return as("timeout")`${host} did not answer within ${timeoutMs / 1000} s
      → Check that a firewall or an outbound proxy lets this computer reach ${host}.`;
  if (code === "ENOTFOUND")
    return other`there is no host named ${hostname}
      → Check the spelling of ${hostname}, and that its name is known to the DNS that this computer asks.`;
  if (code === "EAI_AGAIN")
    return other`the name ${hostname} could not be looked up: the DNS does not answer
      → Check this computer's (or container's) DNS and network, then run the doctor again.`;
  if (/\bbad port\b/.test(causes(error)))
    return other`${host} is on a port that browsers and this server refuse, because other protocols use it
      → Use another port, such as 443, 3000 or 8443.`;
  return other`the connection to ${host} failed (${code || causes(error)})
    → Try it by hand from here: curl -v ${origin}/`;
}

/** The innermost code that says something. */
export function codeOf(error: unknown): string {
  let found = "";
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause.name === "TimeoutError") return "TIMEOUT";
    const [first] = cause instanceof AggregateError ? cause.errors : [];
    found = (cause as NodeJS.ErrnoException).code ?? (first as NodeJS.ErrnoException)?.code ?? found;
  }
  return found;
}

const CA_REMEDY =
  "Send the whole chain of certificates from there; with an authority of your own, start with NODE_EXTRA_CA_CERTS=/path/to/ca.pem, the server as well as the doctor.";

/** OpenSSL's codes for a certificate that is not trusted; what is said completes "the certificate of … ". */
export function certificateProblem(code: string, authorityRemedy = CA_REMEDY): Trouble | undefined {
  if (/SELF_SIGNED_CERT|^UNABLE_TO_(GET_ISSUER_CERT|VERIFY_LEAF_SIGNATURE)/.test(code))
    return trouble`is signed by an authority that this computer does not know
      → ${authorityRemedy}`;
  if (code === "CERT_HAS_EXPIRED")
    return trouble`has expired
      → Renew the certificate there, and see why it did not renew by itself.`;
  if (code === "CERT_NOT_YET_VALID")
    return trouble`is not valid yet
      → Check this computer's clock, and when the certificate begins to be valid.`;
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID")
    return trouble`is for another host name
      → Get a certificate for this name, or use the name that the certificate has.`;
  return undefined;
}

/** What came instead of a document, for people. */
export function describeOther({ status, headers, text, silence }: Answer): string {
  if (silence !== undefined) return silence.says;
  if (status === 429) return "it answers that it is asked too often (HTTP 429)";
  const title = titleOf(text);
  if (title !== undefined) return `it answers HTTP ${status} with a web page ("${title}")`;
  if (headers.get("content-type")?.includes("html")) return `it answers HTTP ${status} with a web page`;
  const location = headers.get("location")?.replace(/[?#].*$/, ""); // queries carry codes and states
  if (location !== undefined) return `it answers HTTP ${status}, a redirection to ${location}`;
  return `it answers HTTP ${status} ${text.trim() === "" ? "and nothing else" : "with something that is no JSON"}`;
}

export function titleOf(page: string): string | undefined {
  return /<title[^>]*>([^<]{1,120})/i.exec(page)?.[1]?.trim();
}
