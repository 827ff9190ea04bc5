/**
 * What processes record for OpenTelemetry. While traces are off, they have `undefined` instead of a Tracing. A span is recorded when it is over, so nothing has to be carried through a request
 * but the `traceparent` of its client, which the request has anyway.
 */
export interface TracingConfig {
  OTEL_SDK_DISABLED: boolean;
  OTEL_TRACES_EXPORTER?: 'otlp' | 'console' | 'none' | undefined;
  OTEL_EXPORTER_OTLP_ENDPOINT?: string | undefined;
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?: string | undefined;
  OTEL_SERVICE_NAME?: string | undefined;
  /** `parentbased_`: the client's decision counts, if there is one. `traceidratio`: the argument is the share. */
  OTEL_TRACES_SAMPLER: string;
  OTEL_TRACES_SAMPLER_ARG: number;
}

/** A span that was recorded, as the parent of others. */
export type RecordedSpan = { readonly isRecordedSpan: true };

export interface FinishedSpan {
  name: string;
  kind: 'server' | 'client' | 'consumer';
  /** A `traceparent`; empty: the span begins a trace. Or a span of this process. */
  parent: string | RecordedSpan;
  /** Other traces that the span works for, as `traceparent`. */
  links?: readonly string[];
  /** On the monotonic clock of this process, ms. */
  startedAt: number;
  endedAt: number;
  attributes: Record<string, string | number>;
  isError?: boolean;
}

export interface Tracing {
  /** Undefined: the sampler has not chosen it, so its children need not be recorded either. */
  record(span: FinishedSpan): RecordedSpan | undefined;
  /** Sends what is still queued. */
  close(): Promise<void>;
}
