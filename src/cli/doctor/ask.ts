/** One HTTP request of the doctor: it ends in time, whatever happens, and a failure comes back in words. */
import { causes } from "../../oauth/errors.ts";
import { parseJsonObject } from "../../oauth/json.ts";
import { type Trouble, trouble } from "./finding.ts";

/** What came back, as far as it is worth reading. */
export interface Answer {
  status: number;
  headers: Headers;
  text: string;
  /** The JSON object, of an answer with status 200. */
  document: Record<string, unknown> | undefined;
  /** By the monotonic clock: when the request was half done, which is about when the answer was written. */
  tookMs: number;
}

/** Nothing came back: why, and what to do about it. */
export interface NoAnswer extends Trouble {
  kind: "refused" | "timeout" | "tls" | "other";
}

// Metadata documents and error pages are small; what is longer is cut, and then is no document of theirs.
const MAX_BYTES = 512 * 1024;

/** Redirects are not followed: where one leads is an answer. */
export async function ask(
  url: string,
  { timeoutMs, headers, ...rest }: RequestInit & { timeoutMs: number },
): Promise<Answer | NoAnswer> {
  const startedAt = performance.now();
  const known = new Headers({ "user-agent": "mcp-oidc-proxy-doctor", accept: "application/json" });
  for (const [name, value] of new Headers(headers)) known.set(name, value);
  try {
    const signal = AbortSignal.timeout(timeoutMs);
    const response = await fetch(url, { redirect: "manual", ...rest, headers: known, signal });
    const tookMs = performance.now() - startedAt;
    const text = await beginning(response);
    const { status } = response;
    const document = status === 200 ? parseJsonObject(text) : undefined;
    return { status, headers: response.headers, text, document, tookMs };
  } catch (error) {
    return noAnswer(error, new URL(url), timeoutMs);
  }
}

async function beginning({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_BYTES) break;
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** The codes of Node, of its DNS and of OpenSSL, in words. */
function noAnswer(error: unknown, { origin, host, hostname }: URL, timeoutMs: number): NoAnswer {
  const code = codeOf(error);
  const certificate = certificateProblem(code);
  if (certificate !== undefined)
    return { kind: "tls", fix: certificate.fix, says: `the certificate of ${host} ${certificate.says}` };
  if (code.startsWith("ERR_SSL") || code === "EPROTO")
    return as("tls")`${host} does not speak TLS as it should (${code})
      → Check that ${host} is the https port, and not one that speaks plain http.`;
  if (code === "ECONNREFUSED")
    return as("refused")`nothing listens at ${host}
      → Start what should answer at ${host}, or correct the host and port.`;
  if (/TIMEDOUT|TIMEOUT/.test(code))
    return as("timeout")`${host} did not answer within ${timeoutMs / 1000} s
      → Check that a firewall or an outbound proxy lets this computer reach ${host}.`;
  if (code === "ENOTFOUND")
    return as("other")`there is no host named ${hostname}
      → Check the spelling of ${hostname}, and that its name is known to the DNS that this computer asks.`;
  if (code === "EAI_AGAIN")
    return as("other")`the name ${hostname} could not be looked up: the DNS does not answer
      → Check this computer's (or container's) DNS and network, then run the doctor again.`;
  if (/\bbad port\b/.test(causes(error)))
    return as(
      "other",
    )`${host} is on a port that browsers and this server's HTTP client refuse, because other protocols use it
      → Use another port, such as 443, 3000 or 8443.`;
  return as("other")`the connection to ${host} failed (${code || causes(error)})
    → Try it by hand from here: curl -v ${origin}/`;
}

function as(kind: NoAnswer["kind"]): (...words: Parameters<typeof trouble>) => NoAnswer {
  return (...words) => ({ kind, ...trouble(...words) });
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

const CA_REMEDY =
  "Send the whole chain of certificates from there; with an authority of your own, start with NODE_EXTRA_CA_CERTS=/path/to/ca.pem, the server as well as the doctor.";

/** What came instead of a document, for people. */
export function describeOther(asked: Answer | NoAnswer): string {
  if ("kind" in asked) return asked.says;
  const { status, headers, text } = asked;
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
