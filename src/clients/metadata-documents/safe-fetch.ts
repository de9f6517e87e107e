/**
 * Fetches JSON from a URL that a stranger chose, such as a client ID metadata document: only from the public
 * internet, only a little, only for a short time, and only from where the URL says.
 */

import { Resolver } from "node:dns/promises";
import type { IncomingMessage } from "node:http";
import { Agent, type RequestOptions, request } from "node:https";
import { isIP, type LookupFunction } from "node:net";
import ipaddr from "ipaddr.js";
import type { ReasonCode } from "../../oauth/reason-codes.ts";
import { connectThrough, isInsideName } from "./forward-proxy.ts";

export type SafeFetchReason = Extract<
  ReasonCode,
  | "not_https"
  | "port_refused"
  | "address_refused"
  | "unreachable"
  | "timed_out"
  | "redirected"
  | "bad_status"
  | "wrong_content_type"
  | "too_large"
>;

/** Its message completes the sentence "The document could not be used: …" and names no address. */
export class SafeFetchError extends Error {
  readonly reason: SafeFetchReason;
  /** The HTTP status, where that was the reason. */
  readonly status: number | undefined;

  constructor(reason: SafeFetchReason, message: string, detail: { cause?: unknown; status?: number } = {}) {
    super(message, { cause: detail.cause });
    this.name = "SafeFetchError";
    this.reason = reason;
    this.status = detail.status;
  }
}

export interface Address {
  address: string;
  family: 4 | 6;
}

export interface SafeFetchOptions {
  /** Default 5120: what the draft recommends for a metadata document (§8.7). */
  maxBytes?: number;
  /** For everything together, from the name look-up to the last byte. Default 5000. */
  timeoutMs?: number;
  /** Default 443 only: what answers elsewhere on a public address is seldom meant for strangers. */
  ports?: readonly number[] | "any";
  /** Default {@link isGlobalUnicast}. */
  isAllowedAddress?: (address: string) => boolean;
  /** The addresses of a name. Default: DNS, without the hosts file. */
  lookup?: (hostname: string, signal: AbortSignal) => Promise<readonly Address[]>;
  /**
   * A forward proxy to go through, in place of `lookup`: it looks names up, and has to refuse addresses inside. Names and
   * addresses that are inside as they are written are refused here all the same.
   */
  proxy?: URL;
  /** Certificate authorities to trust instead of Node's own. */
  ca?: string;
}

export interface SafeResponse {
  /** 200, or 304 when the request carried a validator. */
  status: number;
  headers: Headers;
  body: string;
}

/** @throws SafeFetchError for whatever is not a small JSON answer with status 200. */
export type SafeFetch = (url: URL, headers?: Readonly<Record<string, string>>) => Promise<SafeResponse>;

const OUR_HEADERS = {
  accept: "application/json",
  "accept-encoding": "identity",
  // Many sites turn away whoever names nothing.
  "user-agent": "mcp-oidc-proxy",
};
const MAX_HEADER_BYTES = 8_192;
// One text for both: a stranger must not learn which names exist inside.
const UNREACHABLE = "its host cannot be reached on the public internet";
const GLOBAL_UNICAST_V6 = ipaddr.parseCIDR("2000::/3");

export function createSafeFetch(options: SafeFetchOptions = {}): SafeFetch {
  const { maxBytes = 5_120, timeoutMs = 5_000, ports = [443], ca } = options;
  const { isAllowedAddress = isGlobalUnicast, lookup = resolveName, proxy } = options;

  /** Straight to an address that was checked. */
  async function directly(url: URL, signal: AbortSignal): Promise<RequestOptions> {
    const found = await orAborted(addressesOf(url, lookup, signal), signal);
    const allowed = found.filter(({ address }) => isAllowedAddress(address));
    const [first] = allowed;
    if (first === undefined)
      throw new SafeFetchError(found.length === 0 ? "unreachable" : "address_refused", UNREACHABLE);
    return {
      // Connects to what was checked: a second DNS answer is never asked for (DNS rebinding).
      lookup: pinnedTo(first, allowed),
      agent: new Agent({ keepAlive: false, maxCachedSessions: 0 }),
      rejectUnauthorized: true,
      ...(ca !== undefined && { ca }),
    };
  }

  async function through(proxy: URL, url: URL, signal: AbortSignal): Promise<RequestOptions> {
    const host = hostOf(url);
    if (isIP(host) === 0 ? isInsideName(host) : !isAllowedAddress(host))
      throw new SafeFetchError("address_refused", UNREACHABLE);
    const port = Number(url.port || 443);
    const socket = await connectThrough({ proxy, host, port, maxHeaderSize: MAX_HEADER_BYTES, signal, ca });
    return { createConnection: () => socket };
  }

  return async (url, headers = {}) => {
    if (url.protocol !== "https:") throw new SafeFetchError("not_https", "it is not on https");
    if (ports !== "any" && !ports.includes(Number(url.port || 443)))
      throw new SafeFetchError("port_refused", `it is not on port ${ports.join(" or ")}`);
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      const way = proxy === undefined ? directly(url, signal) : through(proxy, url, signal);
      const response = await send(url, {
        method: "GET",
        headers: { ...OUR_HEADERS, ...headers },
        maxHeaderSize: MAX_HEADER_BYTES,
        signal,
        ...(await way),
      });
      try {
        return await read(response, maxBytes, isConditional(headers));
      } finally {
        response.destroy();
      }
    } catch (error) {
      throw asSafeFetchError(error, signal, timeoutMs);
    }
  };
}

/**
 * True for an address that the whole internet can reach. Everything special (RFC 6890) is refused, and so is what
 * carries an IPv4 address inside: IPv4-mapped, NAT64, 6to4, Teredo.
 */
export function isGlobalUnicast(address: string): boolean {
  if (isIP(address) === 0) return false;
  const parsed = ipaddr.parse(address);
  if (parsed.range() !== "unicast") return false;
  // ipaddr.js calls "unicast" what it has no name for, such as ::127.0.0.1; RFC 4291 §2.4, IANA: only 2000::/3 is.
  return parsed.kind() === "ipv4" || parsed.match(GLOBAL_UNICAST_V6);
}

async function addressesOf(
  url: URL,
  lookup: NonNullable<SafeFetchOptions["lookup"]>,
  signal: AbortSignal,
): Promise<readonly Address[]> {
  const host = hostOf(url);
  const family = isIP(host);
  // Node looks up names only: an address in the URL is checked here or nowhere.
  return family === 4 || family === 6 ? [{ address: host, family }] : lookup(host, signal);
}

function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, "");
}

/** Not getaddrinfo: its few threads serve cryptography too, and a slow name server would hold them all. */
async function resolveName(hostname: string, signal: AbortSignal): Promise<Address[]> {
  const resolver = new Resolver({ timeout: 2_000, tries: 2 });
  signal.addEventListener("abort", () => resolver.cancel(), { once: true });
  const [v6, v4] = await Promise.allSettled([resolver.resolve6(hostname), resolver.resolve4(hostname)]);
  if (v6.status === "rejected" && v4.status === "rejected") throw v4.reason;
  return [
    ...(v6.status === "fulfilled" ? v6.value.map((address) => ({ address, family: 6 as const })) : []),
    ...(v4.status === "fulfilled" ? v4.value.map((address) => ({ address, family: 4 as const })) : []),
  ];
}

function pinnedTo(first: Address, all: readonly Address[]): LookupFunction {
  return (_hostname, options, callback) =>
    options.all ? callback(null, [...all]) : callback(null, first.address, first.family);
}

function send(url: URL, options: RequestOptions): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request(url, options, resolve).on("error", reject).end();
  });
}

async function read(
  response: IncomingMessage,
  maxBytes: number,
  conditional: boolean,
): Promise<SafeResponse> {
  const status = response.statusCode ?? 0;
  const headers = headersOf(response);
  if (status === 304 && conditional) return { status, headers, body: "" };
  // Draft §5: no redirect is followed, and 200 alone is an answer.
  if (status >= 300 && status <= 399 && status !== 304)
    throw new SafeFetchError("redirected", "it redirects elsewhere, and redirects are not followed", {
      status,
    });
  if (status !== 200)
    throw new SafeFetchError("bad_status", `its host answers with HTTP status ${status}`, { status });
  // A compressed body could be a bomb, and identity was asked for.
  if (!isJson(headers.get("content-type")) || !/^(identity)?$/i.test(headers.get("content-encoding") ?? ""))
    throw new SafeFetchError("wrong_content_type", "it is not served as plain application/json");
  return { status, headers, body: await readBody(response, maxBytes) };
}

async function readBody(response: IncomingMessage, maxBytes: number): Promise<string> {
  const tooLarge = () => new SafeFetchError("too_large", `it is larger than ${maxBytes} bytes`);
  if (Number(response.headers["content-length"] ?? 0) > maxBytes) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBytes) throw tooLarge();
    chunks.push(chunk);
  }
  return new TextDecoder().decode(Buffer.concat(chunks));
}

function headersOf({ rawHeaders }: IncomingMessage): Headers {
  const headers = new Headers();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2)
    headers.append(rawHeaders[i] ?? "", rawHeaders[i + 1] ?? "");
  return headers;
}

/** `application/json`, or a type of that structure (RFC 6839 §3.1). */
function isJson(contentType: string | null): boolean {
  return /^application\/(?:[\w.-]+\+)?json[ \t]*(?:;|$)/i.test(contentType ?? "");
}

function isConditional(headers: Readonly<Record<string, string>>): boolean {
  return Object.keys(headers).some((name) => /^if-(none-match|modified-since)$/i.test(name));
}

function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
  return Promise.race([promise, aborted]);
}

function asSafeFetchError(error: unknown, signal: AbortSignal, timeoutMs: number): SafeFetchError {
  if (error instanceof SafeFetchError) return error;
  if (signal.aborted)
    return new SafeFetchError("timed_out", `it did not arrive within ${timeoutMs / 1000} seconds`, {
      cause: error,
    });
  if (error instanceof Error && "code" in error && error.code === "HPE_HEADER_OVERFLOW")
    return new SafeFetchError("too_large", "its headers are too large", { cause: error });
  return new SafeFetchError("unreachable", UNREACHABLE, { cause: error });
}
