/** Sends spans to an OpenTelemetry collector. Its packages are optional: load-tracing.ts imports it. */
import { context, propagation, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { type ExportResult, ExportResultCode, W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
} from "@opentelemetry/resources";
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  type ReadableSpan,
  type SpanExporter,
} from "@opentelemetry/sdk-trace-base";
import { causes } from "../oauth/errors.ts";
import type { Log } from "../runtime/log.ts";

export interface Tracing {
  /** Sends what is left, as far as the collector takes it in time. */
  stop(): Promise<void>;
}

const FLUSH_MS = 1_500;

/**
 * Registers the process's tracer. What else OpenTelemetry's environment says (`OTEL_SERVICE_NAME`,
 * `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER` …) the SDK reads itself.
 * @param endpoint as in OTEL_EXPORTER_OTLP_ENDPOINT: `/v1/traces` is added
 */
export function startTracing(endpoint: string, log: Log): Tracing {
  const exporter = new OTLPTraceExporter({ url: `${endpoint.replace(/(?<!\/)\/+$/, "")}/v1/traces` });
  const provider = new BasicTracerProvider({
    resource: defaultResource()
      .merge(resourceFromAttributes({ "service.name": "mcp-oidc-proxy" }))
      .merge(detectResources({ detectors: [envDetector] })),
    // A queue of limited length that is emptied in the background: what does not fit is dropped, and nobody waits.
    spanProcessors: [new BatchSpanProcessor(sayingOnceThatItFails(exporter, log))],
  });
  trace.setGlobalTracerProvider(provider);
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  return {
    async stop() {
      const timeLimit = new Promise((resolve) => setTimeout(resolve, FLUSH_MS).unref());
      await Promise.race([provider.shutdown().catch(() => {}), timeLimit]);
      for (const each of [trace, context, propagation]) each.disable();
    },
  };
}

/** One line when the collector is lost and one when it is back, not one for every batch. */
function sayingOnceThatItFails(exporter: SpanExporter, log: Log): SpanExporter {
  let lost = false;
  function note({ code, error }: ExportResult): void {
    const failed = code !== ExportResultCode.SUCCESS;
    if (failed && !lost)
      log.warn({ reason: "traces_not_sent", cause: causes(error) }, "The trace collector cannot be reached");
    if (!failed && lost) log.info("The trace collector is reachable again");
    lost = failed;
  }
  return {
    export: (spans: ReadableSpan[], done) =>
      exporter.export(spans, (result) => {
        note(result);
        done(result);
      }),
    shutdown: () => exporter.shutdown(),
    forceFlush: async () => exporter.forceFlush?.(),
  };
}
