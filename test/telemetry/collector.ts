/** A fake OpenTelemetry collector: OTLP over HTTP in JSON (opentelemetry-proto), kept as it came. */
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { eventually } from "../support/eventually.ts";

export interface CollectedSpan {
  name: string;
  kind: number;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  attributes: Record<string, unknown>;
  /** 2 is an error. */
  status: number;
}

export interface Collector {
  url: string;
  spans: CollectedSpan[];
  /** Attributes of the last sender. */
  resource: Record<string, unknown>;
  requests: Array<{ path: string; headers: IncomingHttpHeaders; body: string }>;
  /** How it fails, if it does. */
  fault: "refuses" | "silent" | undefined;
  /** The spans of a trace, once there is one with this name. */
  traceWith(name: string): Promise<CollectedSpan[]>;
  close(): Promise<void>;
}

export async function startCollector(): Promise<Collector> {
  const server = createServer(async (req, res) => {
    const body = await text(req);
    collector.requests.push({ path: req.url ?? "", headers: req.headers, body });
    if (collector.fault === "silent") return;
    if (collector.fault === "refuses") return void res.writeHead(400).end("collector says: broken");
    for (const { resource, scopeSpans } of JSON.parse(body).resourceSpans) {
      collector.resource = attributesOf(resource.attributes);
      for (const { spans } of scopeSpans)
        for (const span of spans)
          collector.spans.push({
            ...span,
            attributes: attributesOf(span.attributes),
            status: span.status?.code ?? 0,
          });
    }
    res.writeHead(200, { "content-type": "application/json" }).end("{}");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const collector: Collector = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans: [],
    resource: {},
    requests: [],
    fault: undefined,
    async traceWith(name) {
      const found = await eventually(`a span ${name}`, () =>
        collector.spans.find((span) => span.name === name),
      );
      return collector.spans.filter(({ traceId }) => traceId === found.traceId);
    },
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return collector;
}

type Attributes = Array<{ key: string; value: Record<string, unknown> }>;

function attributesOf(attributes: Attributes): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
