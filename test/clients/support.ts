/** A web site of a client for tests: a real HTTPS server with a certificate of its own, and a fetch that finds it. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { pino } from "pino";
import type { DocumentRequester } from "../../src/clients/metadata-documents/document-cache.ts";
import { createSafeFetch, type SafeFetchOptions } from "../../src/clients/metadata-documents/safe-fetch.ts";

/** Somebody whose fetches nobody counts, and who holds no grant. */
export const STRANGER: DocumentRequester = {
  holdsGrant: async () => false,
  countFetch: async () => {},
  countStored: async () => {},
};

export const silent = pino({ level: "silent" });
export const HOST = "app.example";

export interface Site {
  /** `https://app.example:port/path`. */
  url(path: string): string;
  port: number;
  ca: string;
  requests: IncomingMessage[];
  /** For every connection, the address it came to. */
  connections: string[];
  /** How it answers; may be replaced at any time. */
  answer: (req: IncomingMessage, res: ServerResponse) => void;
  close(): Promise<void>;
}

export async function startSite(answer: Site["answer"] = (_req, res) => sendJson(res, {})): Promise<Site> {
  const { key, cert } = certificate();
  const requests: IncomingMessage[] = [];
  const connections: string[] = [];
  const server = createServer({ key, cert }, (req, res) => {
    requests.push(req);
    site.answer(req, res);
  });
  server.on("connection", (socket: Socket) => connections.push(socket.localAddress ?? ""));
  server.on("tlsClientError", () => {});
  server.listen(0, "0.0.0.0");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const site: Site = {
    url: (path) => `https://${HOST}:${port}${path}`,
    port,
    ca: cert,
    requests,
    connections,
    answer,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return site;
}

/** Answers every request with these bytes as they are, for what a HTTP server would refuse to send. */
export async function startRawSite(
  bytes: string,
): Promise<{ port: number; ca: string; close(): Promise<void> }> {
  const { key, cert } = certificate();
  const server = createTlsServer({ key, cert }, (socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end(bytes));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    ca: cert,
    async close() {
      server.close();
      await once(server, "close");
    },
  };
}

/** A safe fetch to which every name is this computer, and this computer is allowed, unless said otherwise. */
export function fetchFrom(ca: string, options: SafeFetchOptions = {}) {
  return createSafeFetch({
    ports: "any",
    ca,
    isAllowedAddress: () => true,
    lookup: async () => [{ address: "127.0.0.1", family: 4 }],
    ...options,
  });
}

export function sendJson(res: ServerResponse, value: unknown, headers: Record<string, string> = {}): void {
  res.writeHead(200, { "content-type": "application/json", ...headers }).end(JSON.stringify(value));
}

let made: { key: string; cert: string } | undefined;

function certificate(): { key: string; cert: string } {
  if (made !== undefined) return made;
  const folder = mkdtempSync(join(tmpdir(), "site-certificate-"));
  const [keyFile, certFile] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const subject = ["-subj", `/CN=${HOST}`, "-addext", `subjectAltName=DNS:${HOST},IP:127.0.0.1,IP:::1`];
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", keyFile];
  execFileSync("openssl", ["req", "-x509", ...newKey, "-out", certFile, "-days", "2", ...subject], {
    stdio: "ignore",
  });
  made = { key: readFileSync(keyFile, "utf8"), cert: readFileSync(certFile, "utf8") };
  rmSync(folder, { recursive: true });
  return made;
}
