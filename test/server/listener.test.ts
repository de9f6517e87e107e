/** The HTTP listener: too many connections, and connections that cannot be accepted, neither end the process nor fill the log. */
import assert from "node:assert/strict";
import { once } from "node:events";
import type { RequestListener, Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { describe, type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { pino } from "pino";
import { createListener } from "../../src/server/listener.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { eventually } from "../support/eventually.ts";

interface Listening {
  server: Server;
  log: Array<Record<string, unknown>>;
  clock: { seconds: number };
  refused(reason: string): Promise<number>;
  /** Resolves when it is connected, as far as it can know. */
  open(): Promise<Client>;
}

interface Client {
  socket: Socket;
  /** All that came. */
  received: string;
  isClosed: boolean;
}

async function listening(
  t: TestContext,
  maxConnections: number,
  handler: RequestListener = (_req, res) => void res.end("served"),
): Promise<Listening> {
  const log: Listening["log"] = [];
  const logger = pino({ base: null }, { write: (line: string) => void log.push(JSON.parse(line)) });
  const clock = { seconds: 0 };
  const metrics = createMetrics();
  const monotonicNow = () => clock.seconds;
  const server = createListener(handler, { maxConnections, metrics, monotonicNow, log: logger });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const sockets: Socket[] = [];
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  });
  return {
    server,
    log,
    clock,
    async refused(reason) {
      const { values } = await metrics.refusedConnections.get();
      return values.find(({ labels }) => labels.reason === reason)?.value ?? 0;
    },
    async open() {
      const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
      sockets.push(socket);
      const client = { socket, received: "", isClosed: false };
      socket.on("data", (chunk) => {
        client.received += chunk.toString();
      });
      socket.on("error", () => {});
      socket.on("close", () => {
        client.isClosed = true;
      });
      await once(socket, "connect");
      return client;
    },
  };
}

const REQUEST = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const isServed = ({ received }: Client) => received.endsWith("served");
const isRefused = ({ received, isClosed }: Client) => isClosed && received === "";

describe("too many connections", () => {
  test("are closed at once, and one that is given back is free for the next", async (t) => {
    const { open, refused, server } = await listening(t, 2);
    const [held] = [await open(), await open()];
    for (const { socket } of [held]) socket.write("GET / HTTP/1.1\r\n"); // never ends
    const late = await open();
    await eventually("the third was refused", () => isRefused(late));
    assert.equal(await refused("too_many_connections"), 1);

    held.socket.destroy();
    const countConnections = promisify(server.getConnections.bind(server));
    await eventually("it is gone", async () => (await countConnections()) < 2);
    const next = await open();
    next.socket.write(REQUEST);
    await eventually("it is served", () => isServed(next));
  });

  test("that wait for their next request make room; those with a request stay", async (t) => {
    let finish = () => {};
    const handler: RequestListener = (req, res) => {
      if (req.url !== "/slow") return void res.end("served");
      res.write("begun");
      finish = () => res.end("served");
    };
    const { open } = await listening(t, 3, handler);
    const [busy, ...idle] = [await open(), await open(), await open()];
    busy.socket.write(REQUEST.replace("/", "/slow"));
    for (const { socket } of idle) socket.write(REQUEST);
    await eventually("they are answered", () => [busy, ...idle].every(({ received }) => received !== ""));

    const first = await open();
    await eventually("it found no room", () => isRefused(first));
    await eventually("there is room", () => idle.every(({ isClosed }) => isClosed));
    const second = await open();
    second.socket.write(REQUEST);
    await eventually("the next is served", () => isServed(second));
    assert.equal(busy.isClosed, false);
    finish();
    await eventually("and so is the one that was busy", () => busy.received.includes("served"));
  });

  test("are counted each, and in the log once a minute", async (t) => {
    const { open, refused, log, clock } = await listening(t, 1);
    await open();
    const refuse = async (times: number) => {
      const before = await refused("too_many_connections");
      for (let i = 0; i < times; i++) await open();
      await eventually(
        "all are refused",
        async () => (await refused("too_many_connections")) === before + times,
      );
    };
    await refuse(20);
    assert.deepEqual(
      log.map(({ reason, maxConnections }) => [reason, maxConnections]),
      [["too_many_connections", 1]],
    );
    clock.seconds = 59;
    await refuse(2);
    assert.equal(log.length, 1);
    clock.seconds = 60;
    await refuse(2);
    assert.equal(log.length, 2);
  });
});

describe("a connection that cannot be accepted", () => {
  for (const code of ["EMFILE", "ENFILE"])
    test(`because of ${code} ends nothing, is counted, and in the log once a minute`, async (t) => {
      const { server, open, refused, log } = await listening(t, 10);
      // What node:net does when accept() fails. The limit itself is met only sometimes: libuv keeps a file to give away.
      for (let i = 0; i < 5; i++) server.emit("error", Object.assign(new Error(`accept ${code}`), { code }));
      assert.equal(await refused("accept_failed"), 5);
      assert.deepEqual(
        log.map(({ reason, code }) => [reason, code]),
        [["accept_failed", code]],
      );
      const next = await open();
      next.socket.write(REQUEST);
      await eventually("the next is served", () => isServed(next));
    });

  test("is not a port in use: that error reaches whoever listens", async (t) => {
    const { server, log } = await listening(t, 10);
    const options = {
      maxConnections: 1,
      metrics: createMetrics(),
      monotonicNow: () => 0,
      log: pino({ level: "silent" }),
    };
    const second = createListener(() => {}, options);
    const failed = once(second, "error");
    second.listen((server.address() as AddressInfo).port, "127.0.0.1");
    assert.equal((await failed)[0].code, "EADDRINUSE");
    assert.deepEqual(log, []);
  });
});
