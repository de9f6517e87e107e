/** Metrics of the processes that share a port: what was counted stays counted, however many of them go at once. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Counter, Gauge, Registry } from "prom-client";
import { createMetricsPool, type MetricsMessage, type Sibling } from "../../src/telemetry/sibling-metrics.ts";

async function readingOf(count: number): Promise<Extract<MetricsMessage, { metrics: "reading" }>["reading"]> {
  const registry = new Registry();
  new Counter({ name: "calls_total", help: "Calls", registers: [registry] }).inc(count);
  new Gauge({ name: "open", help: "Open", registers: [registry] }).set(count);
  return registry.getMetricsAsJSON();
}

test("of several that go at once nothing is lost, and nothing of it counts twice", async () => {
  const pool = createMetricsPool();
  let text = "";
  const asking: Sibling = {
    async send(message) {
      if (message.metrics === "read")
        void pool.received(asking, { metrics: "reading", id: message.id, reading: await readingOf(1) });
      if (message.metrics === "all") text = message.text;
    },
  };
  const others = [10, 100, 1_000].map((count): [Sibling, number] => [{ send: async () => {} }, count]);
  for (const [sibling, count] of [[asking, 1], ...others] as const) {
    pool.joined(sibling);
    await pool.received(sibling, { metrics: "reading", reading: await readingOf(count) });
  }
  const asked = pool.received(asking, { metrics: "wanted", id: 1 });
  for (const [sibling] of others) pool.left(sibling);
  await asked;
  assert.match(text, /^calls_total 1111$/m);
  assert.match(text, /^open 1$/m);
  await pool.received(asking, { metrics: "wanted", id: 2 });
  assert.match(text, /^calls_total 1111$/m);
});
