/** The body of a backend's answer, between its source and its one receiver. */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { describe, test } from "node:test";
import { AnswerBody, bodyOf, drop, wholeBody } from "../../src/mcp/backends/answer-body.ts";

function bodyWithSource() {
  const source: string[] = [];
  const body = new AnswerBody({
    pause: () => void source.push("pause"),
    resume: () => void source.push("resume"),
    stop: () => void source.push("stop"),
  });
  return { body, source };
}

function receiver(onTake?: (text: string) => void) {
  const heard: string[] = [];
  const to = {
    take(bytes: Buffer) {
      heard.push(String(bytes));
      onTake?.(String(bytes));
    },
    end: () => void heard.push("end"),
    fail: (error: Error) => void heard.push(`failed: ${error.message}`),
  };
  return { heard, to };
}

const pushed = (body: AnswerBody, ...texts: string[]) => {
  for (const text of texts) body.push(Buffer.from(text));
};

describe("the body of an answer", () => {
  test("what came before its receiver is given first, in order", () => {
    const { body } = bodyWithSource();
    const { heard, to } = receiver();
    pushed(body, "one", "two");
    body.giveTo(to);
    pushed(body, "three");
    body.end();
    assert.deepEqual(heard, ["one", "two", "three", "end"]);
  });

  test("while it is paused nothing comes, not even its end or its error", () => {
    const { body } = bodyWithSource();
    const { heard, to } = receiver(() => body.pause());
    body.giveTo(to);
    pushed(body, "one", "two");
    body.fail(new Error("broken"));
    assert.deepEqual(heard, ["one"]);
    body.resume();
    assert.deepEqual(heard, ["one", "two"]);
    body.resume();
    assert.deepEqual(heard, ["one", "two", "failed: broken"]);
  });

  test("a source that is faster than its receiver is paused, once, and goes on", () => {
    const { body, source } = bodyWithSource();
    const { to } = receiver();
    body.giveTo(to);
    body.pause();
    pushed(body, "x".repeat(40_000), "x".repeat(40_000), "x");
    assert.deepEqual(source, ["pause"]);
    body.resume();
    assert.deepEqual(source, ["pause", "resume"]);
  });

  test("who has read enough stops its source, and hears nothing more", () => {
    const { body, source } = bodyWithSource();
    const { heard, to } = receiver(() => body.destroy());
    body.giveTo(to);
    pushed(body, "one", "two");
    body.end();
    body.destroy();
    assert.deepEqual(heard, ["one"]);
    assert.deepEqual(source, ["stop"]);
  });

  test("one whose time is over fails at once, also while it is paused", () => {
    const { body, source } = bodyWithSource();
    const { heard, to } = receiver(() => body.pause());
    body.giveTo(to);
    pushed(body, "one", "two");
    body.destroy(new Error("late"));
    assert.deepEqual([heard, source], [["one", "failed: late"], ["stop"]]);
  });

  test("a body that nobody wants is read to its end if that is near, and stopped otherwise", () => {
    for (const [size, stopped] of [
      [10, []],
      [70_000, ["stop"]],
    ] as const) {
      const { body, source } = bodyWithSource();
      drop(body);
      pushed(body, "x".repeat(size));
      body.end();
      assert.deepEqual(source, stopped);
    }
  });

  test("a body that nobody wants is stopped after a while: a stream may have no end", ({ mock }) => {
    mock.timers.enable({ apis: ["setTimeout"] });
    const { body, source } = bodyWithSource();
    drop(body);
    pushed(body, ": still there");
    mock.timers.tick(9_999);
    assert.deepEqual(source, []);
    mock.timers.tick(1);
    assert.deepEqual(source, ["stop"]);
    const ended = bodyWithSource();
    drop(ended.body);
    ended.body.end();
    mock.timers.tick(20_000);
    assert.deepEqual(ended.source, []);
  });

  test("piece by piece, with the error that ended it", async () => {
    const { body, source } = bodyWithSource();
    pushed(body, "one", "two");
    body.fail(new Error("broken"));
    const pieces: string[] = [];
    await assert.rejects(async () => {
      for await (const piece of body) pieces.push(String(piece));
    }, /broken/);
    assert.deepEqual([pieces, source], [["one", "two"], []]);
    const another = bodyWithSource();
    pushed(another.body, "one", "two");
    for await (const _ of another.body) break;
    assert.deepEqual(another.source, ["stop"]);
    for await (const piece of wholeBody("all")) assert.equal(String(piece), "all");
  });

  test("of a stream: one that is closed before its end has failed", async () => {
    const stream = new Readable({ read() {} });
    const body = bodyOf(stream);
    stream.push("one");
    setImmediate(() => stream.destroy());
    const pieces: string[] = [];
    await assert.rejects(async () => {
      for await (const piece of body) pieces.push(String(piece));
    }, /closed before its end/);
    assert.deepEqual(pieces, ["one"]);
  });
});
