/** Starts traces if OpenTelemetry's standard variables ask for them. Otherwise nothing of it is loaded. */
import type { Logger } from 'pino';
import type { Tracing, TracingConfig } from './tracing.ts';

/** `process` is the default of OTEL_SERVICE_NAME, after `flash-sale-`. */
export async function startTracing(
  process: string,
  config: TracingConfig,
  log: Logger,
): Promise<Tracing | undefined> {
  if (exporterOf(config) === 'none') return undefined;
  const { startOpenTelemetry } = await import('./open-telemetry.ts');
  return startOpenTelemetry(`flash-sale-${process}`, config, log);
}

/** OpenTelemetry's default would be `otlp`. Here an endpoint or an exporter must be named. */
function exporterOf(config: TracingConfig): 'otlp' | 'console' | 'none' {
  if (config.OTEL_SDK_DISABLED) return 'none';
  const hasEndpoint =
    config.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT ?? config.OTEL_EXPORTER_OTLP_ENDPOINT;
  return config.OTEL_TRACES_EXPORTER ?? (hasEndpoint ? 'otlp' : 'none');
}
