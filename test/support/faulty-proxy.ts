/**
 * A reverse proxy between the server under test and the real identity provider. It notes what passes and, when told,
 * fails in one of the ways in which networks and providers fail. Only back-channel POSTs fail: discovery and the
 * browser's own way stay intact.
 */
import { createServer, request } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { text } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";

export type Fault = "reset" | "timeout" | "late" | "500" | "html" | "invalid_grant" | "empty 400";

export interface FaultyProxy {
  /** Where the real provider listens; set once it is known. */
  target: number;
  port: number;
  fault: Fault | undefined;
  /** Revocations get no answer. */
  hangsAtRevocation: boolean;
  /** Instead of the provider's answer to a grant: another status and body. */
  answer: { status: number; type?: string; challenge?: string; body: string } | undefined;
  /** Changes the provider's own answer to a grant. */
  rewrite: ((body: Record<string, unknown>) => object | Promise<object>) | undefined;
  /** Published beside the provider's own keys: whoever has it signs as the provider. */
  extraKey: object | undefined;
  /** Instead of its keys. */
  keysAnswer: { status: number; headers?: Record<string, string> } | undefined;
  /** Breaks the connections of a "timeout", as the network does in the end. */
  dropUnanswered(): void;
  /** What is "late" is passed on after so many milliseconds. */
  lateMs: number;
  /** Passes on what came "late" now. */
  answerLate(): void;
  seen: Array<{
    method: string;
    path: string;
    grantType: string | null;
    refreshToken: string | null;
    /** Headers and body, as they came. */
    text: string;
  }>;
  close(): Promise<void>;
}

export async function startFaultyProxy(): Promise<FaultyProxy> {
  const unanswered = new Set<Socket>();
  const late: Array<() => void> = [];
  const server = createServer(async (req, res) => {
    const body = await text(req);
    const fields = new URLSearchParams(body);
    const grantType = fields.get("grant_type");
    const refreshToken = fields.get("refresh_token");
    const { method = "", url: path = "", rawHeaders } = req;
    proxy.seen.push({ method, path, grantType, refreshToken, text: `${rawHeaders.join("\n")}\n${body}` });
    if (proxy.hangsAtRevocation && path.endsWith("/revocation")) return void unanswered.add(req.socket);
    if (proxy.fault !== undefined && req.method === "POST" && grantType !== null) {
      switch (proxy.fault) {
        case "reset":
          return void req.socket.destroy();
        case "timeout":
          return void unanswered.add(req.socket);
        case "late":
          await Promise.race([
            delay(proxy.lateMs, undefined, { ref: false }),
            new Promise<void>((answer) => late.push(answer)),
          ]);
          break;
        case "500":
          return void res.writeHead(500).end("upstream says: broken");
        case "html":
          return void res
            .writeHead(200, { "content-type": "text/html" })
            .end("<p>upstream says: maintenance</p>");
        case "invalid_grant":
          return void res
            .writeHead(400, { "content-type": "application/json" })
            .end('{"error":"invalid_grant","error_description":"upstream says: gone"}');
        case "empty 400":
          return void res.writeHead(400).end();
      }
    }
    if (proxy.answer !== undefined && grantType !== null) {
      const { status, type = "application/json", challenge, body: text } = proxy.answer;
      if (challenge !== undefined) res.setHeader("www-authenticate", challenge);
      return void res.writeHead(status, { "content-type": type }).end(text);
    }
    if (proxy.keysAnswer !== undefined && path === "/jwks")
      return void res.writeHead(proxy.keysAnswer.status, proxy.keysAnswer.headers).end();
    const forwarded = request(
      {
        port: proxy.target,
        host: "127.0.0.1",
        method: req.method,
        path: req.url,
        headers: req.headers,
        agent: false, // a connection that is kept may be closed by the provider just when it is used again
      },
      (answer) => {
        const { rewrite, extraKey } = proxy;
        const change =
          grantType !== null
            ? rewrite
            : extraKey !== undefined && req.url === "/jwks"
              ? ({ keys }: { keys?: object[] }) => ({ keys: [...(keys ?? []), extraKey] })
              : undefined;
        if (change !== undefined && answer.statusCode === 200)
          return void text(answer).then(async (original) => {
            const { "content-length": _, ...headers } = answer.headers;
            res.writeHead(200, headers).end(JSON.stringify(await change(JSON.parse(original))));
          });
        res.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(res);
      },
    );
    forwarded.on("error", () => res.destroy());
    forwarded.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const proxy: FaultyProxy = {
    target: 0,
    port: (server.address() as AddressInfo).port,
    fault: undefined,
    hangsAtRevocation: false,
    answer: undefined,
    rewrite: undefined,
    extraKey: undefined,
    keysAnswer: undefined,
    dropUnanswered() {
      for (const socket of unanswered) socket.destroy();
      unanswered.clear();
    },
    lateMs: 3_000,
    answerLate() {
      for (const answer of late.splice(0)) answer();
    },
    seen: [],
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}
