/** Clients that take their answers slowly, and those that do not take them. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import express from "express";
import { cutWhenStalled } from "../../src/http/stalled-response.ts";
import { drained } from "../../src/mcp/transport/event-stream.ts";
import { eventually } from "../support/eventually.ts";
import { receivedUntilClosed } from "../support/received-until-closed.ts";

const SIZE = 32e6; // more than sockets hold
const STALL_MS = 1_000;

describe("a response that is complete", () => {
  const reasons: unknown[] = [];
  const app = express().use(cutWhenStalled(STALL_MS));
  app.get("/", (_req, res) => {
    res.once("close", () => void reasons.push(res.locals.reason));
    res.end("x".repeat(SIZE));
  });
  app.get("/stream", async (_req, res) => {
    res.once("close", () => void reasons.push(res.locals.reason));
    while (!res.destroyed) if (!res.write("x".repeat(1e6))) await drained(res, STALL_MS);
  });
  app.get("/slow", async (_req, res) => {
    await delay(2 * STALL_MS);
    res.end("served");
  });
  const server = createServer(app);
  before(async () => {
    await once(server.listen(0, "127.0.0.1"), "listening");
  });
  after(() => {
    server.close();
    server.closeAllConnections();
  });
  function send(path: string): Socket {
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1").pause();
    socket.on("error", () => {});
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    return socket;
  }

  test("that nobody takes is cut", async () => {
    reasons.length = 0;
    const socket = send("/");
    await eventually("it is cut", () => reasons.length === 1);
    assert.deepEqual(reasons, ["answer_not_taken"]);
    assert.ok((await receivedUntilClosed(socket.resume())).length < SIZE);
  });

  test("that is still being written when nobody takes it is cut for the same reason", async () => {
    reasons.length = 0;
    const socket = send("/stream");
    await eventually("it is cut", () => reasons.length === 1);
    assert.deepEqual(reasons, ["answer_not_taken"]);
    socket.destroy();
  });

  test("that is taken slowly is sent to its end", async () => {
    reasons.length = 0;
    const socket = send("/");
    let taken = 0;
    // Much less than that time after each of so many bytes: all together take longer than it.
    for (let steps = 0; reasons.length === 0; ) {
      const chunk: Buffer | null = socket.read();
      taken += chunk?.length ?? 0;
      if (taken > (steps + 1) * 1e6) {
        steps++;
        await delay(STALL_MS / 10);
      } else if (chunk === null) await Promise.race([once(socket, "readable"), delay(50)]);
    }
    assert.deepEqual(reasons, [undefined]);
    socket.destroy();
  });

  test("that takes long to make is not cut meanwhile", async () => {
    const socket = send("/slow").resume();
    const [chunk] = await once(socket, "data");
    assert.match(String(chunk), /^HTTP\/1\.1 200 /);
    socket.destroy();
  });
});
