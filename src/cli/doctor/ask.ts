/** One HTTP request of the doctor: it ends in time, whatever happens, and a failure comes back in words. */
import { causes } from "../../oauth/errors.ts";

/** What came back, as far as it is worth reading. */
export interface Answer {
  status: number;
  headers: Headers;
  text: string;
  /** By the monotonic clock: when the request was half done, which is about when the answer was written. */
  tookMs: number;
}

/** Nothing came back: why, and what to do about it. */
export interface NoAnswer {
  kind: "dns" | "refused" | "timeout" | "tls" | "network";
  says: string;
  fix: string;
}

export type Asked = { answer: Answer } | { none: NoAnswer };

export interface AskOptions {
  timeoutMs: number;
  method?: string;
  headers?: Record<string, string>;
  body?: URLSearchParams | string;
}

// Metadata documents and error pages are small; what is longer is cut, and then is no document of theirs.
const MAX_BYTES = 512 * 1024;
const USER_AGENT = "mcp-oidc-proxy-doctor";

/** Redirects are not followed: where one leads is an answer. */
export async function ask(url: string, { timeoutMs, headers, ...rest }: AskOptions): Promise<Asked> {
  const startedAt = performance.now();
  try {
    const response = await fetch(url, {
      redirect: "manual",
      ...rest,
      headers: { "user-agent": USER_AGENT, ...headers },
      signal: AbortSignal.timeout(timeoutMs),
    });
    const tookMs = performance.now() - startedAt;
    return {
      answer: { status: response.status, headers: response.headers, text: await beginning(response), tookMs },
    };
  } catch (error) {
    return { none: noAnswer(error, new URL(url), timeoutMs) };
  }
}

async function beginning(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_BYTES) break;
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** The codes of Node, of its DNS and of OpenSSL, in words. */
function noAnswer(error: unknown, { origin, host, hostname }: URL, timeoutMs: number): NoAnswer {
  const code = codeOf(error);
  if (code === "ENOTFOUND")
    return {
      kind: "dns",
      says: `there is no host named ${hostname}`,
      fix: `Check the spelling of ${hostname}, and that its name is known to the DNS that this computer asks.`,
    };
  if (code === "EAI_AGAIN")
    return {
      kind: "dns",
      says: `the name ${hostname} could not be looked up: the DNS does not answer`,
      fix: "Check this computer's (or container's) DNS and network, then run the doctor again.",
    };
  if (code === "ECONNREFUSED")
    return {
      kind: "refused",
      says: `nothing listens at ${host}`,
      fix: `Start what should answer at ${host}, or correct the host and port.`,
    };
  if (code === "TIMEOUT" || /TIMEDOUT|TIMEOUT/.test(code))
    return {
      kind: "timeout",
      says: `${host} did not answer within ${timeoutMs / 1000} s`,
      fix: `Check that a firewall or an outbound proxy lets this computer reach ${host}.`,
    };
  if (/\bbad port\b/.test(causes(error)))
    return {
      kind: "network",
      says: `${host} is on a port that browsers and this server's HTTP client refuse, because other protocols use it`,
      fix: "Use another port, such as 443, 3000 or 8443.",
    };
  const certificate = CERTIFICATE_PROBLEMS[code];
  if (certificate !== undefined)
    return { kind: "tls", says: `the certificate of ${host} ${certificate.says}`, fix: certificate.fix };
  if (code.startsWith("ERR_SSL") || code === "EPROTO")
    return {
      kind: "tls",
      says: `${host} does not speak TLS as it should (${code})`,
      fix: `Check that ${host} is the https port, and not one that speaks plain http.`,
    };
  return {
    kind: "network",
    says: `the connection to ${host} failed (${code || causes(error)})`,
    fix: `Try it by hand from here: curl -v ${origin}/`,
  };
}

/** The innermost code that says something. */
export function codeOf(error: unknown): string {
  let found = "";
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause.name === "TimeoutError") return "TIMEOUT";
    const [first] = cause instanceof AggregateError ? cause.errors : [];
    found =
      (cause as NodeJS.ErrnoException).code ?? (first as NodeJS.ErrnoException | undefined)?.code ?? found;
  }
  return found;
}

export const PRIVATE_AUTHORITY = {
  says: "is signed by an authority that this computer does not know",
  fix: "Send the whole chain of certificates from there; with an authority of your own, start with NODE_EXTRA_CA_CERTS=/path/to/ca.pem, the server as well as the doctor.",
};

export const CERTIFICATE_PROBLEMS: Readonly<Record<string, { says: string; fix: string }>> = {
  CERT_HAS_EXPIRED: {
    says: "has expired",
    fix: "Renew the certificate there, and see why it did not renew by itself.",
  },
  CERT_NOT_YET_VALID: {
    says: "is not valid yet",
    fix: "Check this computer's clock, and when the certificate begins to be valid.",
  },
  ERR_TLS_CERT_ALTNAME_INVALID: {
    says: "is for another host name",
    fix: "Get a certificate for this name, or use the name that the certificate has.",
  },
  DEPTH_ZERO_SELF_SIGNED_CERT: PRIVATE_AUTHORITY,
  SELF_SIGNED_CERT_IN_CHAIN: PRIVATE_AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: PRIVATE_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT: PRIVATE_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: PRIVATE_AUTHORITY,
};

/** What kind of page it is instead of a document, for people. */
export function describeOther({ status, headers, text }: Answer): string {
  const title = titleOf(text);
  if (title !== undefined) return `HTTP ${status} with a web page ("${title}")`;
  if (headers.get("content-type")?.includes("html")) return `HTTP ${status} with a web page`;
  const location = headers.get("location");
  if (location !== null) return `HTTP ${status}, a redirection to ${withoutQuery(location)}`;
  return text.trim() === ""
    ? `HTTP ${status} and nothing else`
    : `HTTP ${status} with something that is no JSON`;
}

export function titleOf(page: string): string | undefined {
  return /<title[^>]*>([^<]{1,120})/i.exec(page)?.[1]?.trim();
}

/** Queries carry codes and states. */
function withoutQuery(location: string): string {
  return location.replace(/[?#].*$/, "");
}
