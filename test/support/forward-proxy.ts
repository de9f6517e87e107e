/** A forward proxy: CONNECT and nothing else (RFC 9110 §9.3.6). It finds every name on this computer, as a test's DNS would. */
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";

export interface ForwardProxy {
  url: URL;
  /** What it was asked for, in the form of authority, with the headers. */
  asked: IncomingMessage[];
  /** Tunnels that are open. */
  open(): number;
  /** What it answers instead of opening a tunnel. */
  answer: ((socket: Socket) => void) | undefined;
  close(): Promise<void>;
}

export async function startForwardProxy(): Promise<ForwardProxy> {
  const sockets = new Set<Socket>();
  const server = createServer((_req, res) => res.writeHead(405).end());
  server.on("connect", (req: IncomingMessage, socket: Socket) => {
    proxy.asked.push(req);
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    if (proxy.answer !== undefined) {
      proxy.answer(socket);
      // Who does not read does not hear that the other side has gone.
      return void socket.on("end", () => socket.end()).resume();
    }
    const target = connect(Number(/\d+$/.exec(req.url ?? "")?.[0]), "127.0.0.1");
    target.on("connect", () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      socket.pipe(target).pipe(socket);
    });
    // A pipe that lost its end stops reading, and would not hear that the other side has gone.
    target.on("close", () => socket.resume());
    target.on("error", () => socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n"));
    socket.on("close", () => target.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const proxy: ForwardProxy = {
    url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
    asked: [],
    open: () => sockets.size,
    answer: undefined,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return proxy;
}
