/** A load balancer as small as one can be: every request to the next server that is ready, streaming both ways. */
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

export interface Balancer {
  url: string;
  port: number;
  /** Which ports get requests, in turn. */
  targets: number[];
  /** How many requests each port got. */
  readonly served: ReadonlyMap<number, number>;
  /** Takes ports out while their /readyz says no or nothing, every `intervalMs`. */
  watchReadiness(ports: readonly number[], intervalMs: number): { close(): void };
  close(): Promise<void>;
}

export async function startBalancer(port = 0): Promise<Balancer> {
  let turn = 0;
  const served = new Map<number, number>();
  const balancer = { targets: [] as number[] };
  const server = createServer((req, res) => {
    const target = balancer.targets[turn++ % Math.max(1, balancer.targets.length)];
    if (target === undefined) return void res.writeHead(502).end("no server is ready");
    served.set(target, (served.get(target) ?? 0) + 1);
    const { method, url: path, headers, socket } = req;
    const forwarded = { ...headers, "x-forwarded-for": socket.remoteAddress ?? "" };
    const upstream = request(
      { host: "127.0.0.1", port: target, method, path, headers: forwarded },
      (answer) => {
        const { connection, ...rest } = answer.headers;
        res.writeHead(answer.statusCode ?? 502, rest);
        answer.pipe(res);
        answer.on("error", () => res.destroy());
      },
    );
    upstream.on("error", () =>
      res.headersSent ? res.destroy() : res.writeHead(502).end("connection failed"),
    );
    req.pipe(upstream);
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const { port: bound } = server.address() as AddressInfo;
  return Object.assign(balancer, {
    url: `http://localhost:${bound}`,
    port: bound,
    served,
    watchReadiness(ports: readonly number[], intervalMs: number) {
      let closed = false;
      void (async () => {
        while (!closed) {
          const ready = await Promise.all(ports.map(isReady));
          balancer.targets = ports.filter((_, index) => ready[index]);
          await delay(intervalMs);
        }
      })();
      return {
        close() {
          closed = true;
        },
      };
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  });
}

async function isReady(port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`, { signal: AbortSignal.timeout(1_000) });
    return response.ok;
  } catch {
    return false;
  }
}
