/**
 * The proxy that clients of `npm run dev` are connected to. It stays when the server behind it is replaced: a request that
 * comes meanwhile waits for the new server; if there is none, it is answered with what is wrong.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { setTimeout as delay } from "node:timers/promises";

export interface DevProxy {
  /** From here on requests wait, until one of the others is called. */
  hold(): void;
  forwardTo(port: number): void;
  refuse(problem: string): void;
  /** Resolves when no request is on its way any more, or after this long. */
  idle(limitMs: number): Promise<void>;
  close(): Promise<void>;
}

type Behind = { port: number } | { problem: string };

/** Listens on this computer only. Requests wait from the start. */
export async function startDevProxy(port: number): Promise<DevProxy> {
  let release: (behind: Behind) => void = () => {};
  let behind: Promise<Behind> = Promise.resolve({ problem: "" });
  let isHolding = false;
  const proxy = {
    hold() {
      if (isHolding) return;
      isHolding = true;
      behind = new Promise((resolve) => {
        release = resolve;
      });
    },
    forwardTo: (port: number) => settle({ port }),
    refuse: (problem: string) => settle({ problem }),
  };
  function settle(found: Behind): void {
    if (isHolding) release(found);
    else behind = Promise.resolve(found);
    isHolding = false;
  }
  proxy.hold();
  const underWay = new Set<Promise<unknown>>();
  const server = createServer(async (req, res) => {
    const found = await behind;
    if (res.destroyed) return; // nobody waits any more
    if ("problem" in found) unavailable(res, found.problem);
    else {
      const over = once(res, "close");
      underWay.add(over);
      over.finally(() => underWay.delete(over));
      forward(req, res, found.port);
    }
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    ...proxy,
    async idle(limitMs) {
      const limit = new AbortController();
      const late = delay(limitMs, undefined, { signal: limit.signal }).catch(() => {});
      await Promise.race([Promise.all(underWay), late]);
      limit.abort();
    },
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

function forward(req: IncomingMessage, res: ServerResponse, port: number): void {
  const { method, url: path, headers } = req;
  const behind = request({ host: "127.0.0.1", port, method, path, headers, agent: false }, (answer) => {
    // Whether this connection is kept is ours to say.
    const { connection, "keep-alive": _, ...rest } = answer.headers;
    res.writeHead(answer.statusCode ?? 502, rest);
    answer.pipe(res);
    answer.once("error", () => res.destroy());
  });
  behind.once("error", ({ message }) => {
    if (res.headersSent) res.destroy();
    else unavailable(res, `The server ended while it worked on this (${message}).`);
  });
  res.once("close", () => behind.destroy());
  req.pipe(behind);
}

/** In the form of every other answer of this server while something is away. */
function unavailable(res: ServerResponse, problem: string): void {
  res
    .writeHead(503, { "content-type": "application/json; charset=utf-8", "retry-after": "2" })
    .end(JSON.stringify({ error: "temporarily_unavailable", error_description: problem }));
}
