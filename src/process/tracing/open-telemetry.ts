/**
 * The SDK of OpenTelemetry behind `Tracing`. Loaded only when traces are on. Its queue holds 2,048 spans; beyond that,
 * and while the collector is unavailable, spans are dropped.
 */
import { hostname } from 'node:os';
import { performance } from 'node:perf_hooks';
import {
  type Context,
  ROOT_CONTEXT,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
} from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ConsoleSpanExporter,
  ParentBasedSampler,
  type Sampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { Logger } from 'pino';
import type { FinishedSpan, RecordedSpan, Tracing, TracingConfig } from './tracing.ts';

const KINDS = { server: SpanKind.SERVER, client: SpanKind.CLIENT, consumer: SpanKind.CONSUMER };
const CLOSE_MS_MAX = 2_000;
const LOG_INTERVAL_MS = 60_000;

export function startOpenTelemetry(
  serviceName: string,
  config: TracingConfig,
  log: Logger,
): Tracing {
  const provider = new TracerProvider({
    resource: defaultResource()
      .merge(resourceFromAttributes({ 'service.name': serviceName, 'host.name': hostname() }))
      .merge(detectResources({ detectors: [envDetector] })),
    sampler: samplerOf(config),
    spanProcessors: [new BatchSpanProcessor({ exporter: reporting(exporterOf(config), log) })],
  });
  const tracer = provider.getTracer('flash-sale');
  return {
    record(span) {
      const { name, kind, parent, links = [], attributes, startedAt, endedAt, isError } = span;
      const context = contextOf(parent);
      const recorded = tracer.startSpan(
        name,
        {
          kind: KINDS[kind],
          startTime: timeOf(startedAt),
          attributes,
          links: links.map((link) => ({ context: spanContextOf(link) })),
        },
        context,
      );
      if (!recorded.isRecording()) return undefined;
      if (isError) recorded.setStatus({ code: SpanStatusCode.ERROR });
      recorded.end(timeOf(endedAt));
      return trace.setSpan(ROOT_CONTEXT, recorded) as unknown as RecordedSpan;
    },
    async close() {
      let timer: NodeJS.Timeout | undefined;
      const deadline = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, CLOSE_MS_MAX);
      });
      await Promise.race([provider.shutdown().catch(() => undefined), deadline]);
      clearTimeout(timer);
    },
  };
}

function timeOf(atMs: number): number {
  return performance.timeOrigin + atMs;
}

function contextOf(parent: FinishedSpan['parent']): Context {
  if (typeof parent !== 'string') return parent as unknown as Context;
  return parent === '' ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, spanContextOf(parent));
}

/** The text is a valid `traceparent` of version 00. */
function spanContextOf(traceparent: string): SpanContext {
  const [, traceId, spanId, flags] = traceparent.split('-') as [string, string, string, string];
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true };
}

function samplerOf(config: TracingConfig): Sampler {
  const { OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: share } = config;
  const root = name.endsWith('always_on')
    ? new AlwaysOnSampler()
    : name.endsWith('always_off')
      ? new AlwaysOffSampler()
      : new TraceIdRatioBasedSampler(share);
  return name.startsWith('parentbased') ? new ParentBasedSampler({ root }) : root;
}

/** Headers, timeout, compression and certificates: the exporter reads their variables by itself. */
function exporterOf(config: TracingConfig): SpanExporter {
  if (config.OTEL_TRACES_EXPORTER === 'console') return new ConsoleSpanExporter();
  const base = config.OTEL_EXPORTER_OTLP_ENDPOINT;
  const url =
    config.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? (base && `${base.replace(/\/$/, '')}/v1/traces`);
  return new OTLPTraceExporter(url ? { url } : {});
}

/** Logs that spans are lost, at most once a minute. */
function reporting(exporter: SpanExporter, log: Logger): SpanExporter {
  let quietUntilMs = 0;
  return {
    export(spans, done) {
      exporter.export(spans, (result) => {
        if (result.error !== undefined && performance.now() >= quietUntilMs) {
          quietUntilMs = performance.now() + LOG_INTERVAL_MS;
          log.warn({ spans: spans.length, err: result.error }, 'spans not exported');
        }
        done(result);
      });
    },
    shutdown: () => exporter.shutdown(),
  };
}
