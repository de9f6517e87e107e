/** Adds the access token that the conformance suite cannot send, and passes everything else through as it is. */
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";

export interface BearerProxy {
  /** What the suite is told to test. */
  url: string;
  close(): Promise<void>;
}

export async function startBearerProxy(target: string, accessToken: string): Promise<BearerProxy> {
  const { hostname, port, pathname } = new URL(target);
  const server: Server = createServer((req, res) => {
    const headers = { ...req.headers, authorization: `Bearer ${accessToken}` };
    const forwarded = request({ hostname, port, path: req.url, method: req.method, headers }, (answer) => {
      res.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(res);
    });
    forwarded.on("error", () => res.destroy());
    // Who goes away here is gone there too.
    res.on("close", () => forwarded.destroy());
    req.pipe(forwarded);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://localhost:${(server.address() as AddressInfo).port}${pathname}`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
