/** Records a span for each request of a hot path. There is one only while traces are on. */
import { performance } from 'node:perf_hooks';
import type { RecordedSpan, Tracing } from '../process/tracing/tracing.ts';

interface TracedRequest {
  readonly requestId: string;
  readonly traceparent: string;
  readonly startedAt: number;
  /** Method and path of the operation, e.g. `POST /v1/sales/{saleId}/buy`. */
  readonly route: string;
}

export class RequestTracer {
  readonly #tracing: Tracing;
  /** Of the request that is served now: handlers begin in the same turn. Empty: it gets no span. */
  route = '';

  constructor(tracing: Tracing) {
    this.#tracing = tracing;
  }

  /** `status` as in the status line, e.g. `201 Created`. */
  responded(request: TracedRequest, status: string): RecordedSpan | undefined {
    const { route, traceparent, requestId, startedAt } = request;
    if (route === '') return undefined;
    const code = Number.parseInt(status, 10);
    return this.#tracing.record({
      name: route,
      kind: 'server',
      parent: traceparent,
      startedAt,
      endedAt: performance.now(),
      attributes: {
        'http.request.method': route.slice(0, route.indexOf(' ')),
        'http.route': route.slice(route.indexOf(' ') + 1),
        'http.response.status_code': code,
        'flash_sale.request_id': requestId,
      },
      isError: code >= 500,
    });
  }

  /** One script call decided these purchases: each sampled one gets a span of it. */
  decided(
    saleId: string,
    purchases: readonly { readonly span?: unknown }[],
    seconds: number,
  ): void {
    const endedAt = performance.now();
    for (const { span } of purchases) {
      if (span === undefined) continue;
      this.#tracing.record({
        name: 'reserve.lua',
        kind: 'client',
        parent: span as RecordedSpan,
        startedAt: endedAt - seconds * 1_000,
        endedAt,
        attributes: {
          'db.system.name': 'redis',
          'flash_sale.sale_id': saleId,
          'flash_sale.batch_size': purchases.length,
        },
      });
    }
  }
}
