/** An answer on its way to its client, whose session ends at that moment: what has not left does not, and its client is told. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { AnswerBody } from "../../src/mcp/backends/answer-body.ts";
import { PassedAnswer } from "../../src/mcp/transport/passed-answer.ts";

describe("an answer whose session ends", () => {
  const server = createServer();
  before(() => once(server.listen(0, "127.0.0.1"), "listening"));
  after(() => {
    server.closeAllConnections();
    server.close();
  });

  /** What the client gets, after `meanwhile`. */
  async function received(
    meanwhile: (body: AnswerBody, passed: PassedAnswer) => Promise<void>,
  ): Promise<string> {
    server.once("request", async (_req, res: ServerResponse) => {
      const passed = new PassedAnswer(res as never, {
        running: { servedBy() {}, doubt: undefined },
        ids: [1],
        refuse: () => assert.fail("something was sent"),
        isShown: () => true,
        onlyUnambiguous: false,
        maxBytes: 10_000_000,
        isInSession: false,
        onAnswer() {},
        onNotification() {},
      });
      const body = new AnswerBody({ pause() {}, resume() {}, stop() {} });
      const sent = passed.send({ status: 200, headers: { "content-type": "text/event-stream" }, body });
      await meanwhile(body, passed);
      body.end();
      await sent;
    });
    const answer = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    return await answer.text();
  }
  const revoked = { reason: "token_revoked", message: "Your session has ended." } as never;
  /** The data of each event, as a client parses them. */
  const eventsIn = (text: string) =>
    text.split("\n\n").flatMap((event) => /^data: (.*)$/m.exec(event)?.[1] ?? []);

  test("before what came has left: the request is answered with the end", async () => {
    const text = await received(async (body, passed) => {
      await sleep(30);
      body.push(Buffer.from('data: {"jsonrpc":"2.0","id":1,"result":{"secret":1}}\n\n'));
      passed.end(revoked);
    });
    assert.match(eventsIn(text).join(), /"id":1,"error".*has ended/);
    assert.doesNotMatch(text, /secret/);
  });

  test("when a part of a long event has left: the end is an event by itself", async () => {
    const text = await received(async (body, passed) => {
      body.push(Buffer.from(`data: {"jsonrpc":"2.0","id":1,"result":{"text":"${"x".repeat(300_000)}`));
      await sleep(50);
      body.push(Buffer.from('"}}\n\n'));
      passed.keepAlive();
      passed.end(revoked);
    });
    assert.match(text, /x{1000}/);
    assert.doesNotMatch(text, /keepalive/, "not in the middle of an event");
    assert.match(eventsIn(text).at(-1) ?? "", /^\{.*"id":1,"error".*has ended/);
  });
});
