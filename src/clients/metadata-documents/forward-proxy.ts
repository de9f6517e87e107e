/**
 * A way to a web site through a forward proxy (CONNECT, RFC 9110 §9.3.6), for servers that have no other. The proxy looks the
 * name up, so which addresses are inside is for the proxy to know; what a name or a literal address says by itself is judged
 * before it is asked.
 */
import { request } from "node:http";
import { isIP, type Socket } from "node:net";
import { connect, type TLSSocket } from "node:tls";

/**
 * Names that the public DNS does not have and that are used inside: RFC 6761, RFC 6762 and its Appendix G, RFC 7686, RFC 8375,
 * RFC 9476, and `internal` of ICANN. A name without a dot is one of a search list.
 */
const INSIDE =
  /^[^.]*$|(?:^|\.)(?:localhost|localdomain|local|internal|intranet|private|corp|home|lan|arpa|test|invalid|onion|alt)$/i;

/** True for a name that leads inside, if anywhere, whoever looks it up. Addresses are no names. */
export function isInsideName(host: string): boolean {
  return isIP(host) === 0 && INSIDE.test(host.replace(/\.$/, ""));
}

/** The parts of a proxy's URL that may be shown: not its password. */
export function proxyInWords(proxy: URL): string {
  return `the proxy ${proxy.host}`;
}

interface Way {
  /** `http://proxy.example.com:3128`, perhaps with a name and a password. */
  proxy: URL;
  /** A name, or an address without brackets. */
  host: string;
  port: number;
  maxHeaderSize: number;
  signal: AbortSignal;
  ca?: string | undefined;
}

/**
 * TLS from here to the host: the proxy sees whom we speak with, and nothing of what is said.
 * @throws Error if the proxy is not there, or refuses; with a certificate that is not the host's the socket fails
 */
export async function connectThrough({
  proxy,
  host,
  port,
  maxHeaderSize,
  signal,
  ca,
}: Way): Promise<TLSSocket> {
  const socket = await tunnel(proxy, `${host.includes(":") ? `[${host}]` : host}:${port}`, {
    maxHeaderSize,
    signal,
  });
  return connect({
    socket,
    host,
    ...(isIP(host) === 0 && { servername: host }),
    ALPNProtocols: ["http/1.1"],
    rejectUnauthorized: true,
    ...(ca !== undefined && { ca }),
  });
}

function tunnel(
  proxy: URL,
  authority: string,
  limits: { maxHeaderSize: number; signal: AbortSignal },
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const asking = request({
      host: proxy.hostname.replace(/^\[|\]$/g, ""),
      port: proxy.port || 80,
      method: "CONNECT",
      path: authority,
      headers: { host: authority, ...authorization(proxy) },
      agent: false,
      ...limits,
    });
    asking.on("error", reject);
    asking.on("connect", ({ statusCode = 0 }, socket, head) => {
      // The host of a TLS connection does not speak first.
      if (statusCode >= 200 && statusCode <= 299 && head.length === 0) return resolve(socket as Socket);
      socket.destroy();
      reject(new Error(`${proxyInWords(proxy)} answered CONNECT with HTTP status ${statusCode}`));
    });
    asking.end();
  });
}

function authorization({ username, password }: URL): Record<string, string> {
  if (username === "") return {};
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { "proxy-authorization": `Basic ${Buffer.from(credentials).toString("base64")}` };
}
