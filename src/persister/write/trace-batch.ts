/** Records a span for each write batch, and one in the trace of each client whose event it writes. */
import type { Tracing } from '../../process/tracing/tracing.ts';
import type { StreamEvent } from '../stream/entries.ts';

/** Of one batch. The others are counted only. */
const TRACES_MAX = 100;

export function traceBatch(
  tracing: Tracing,
  saleId: string,
  events: readonly StreamEvent[],
  startedAt: number,
): void {
  const endedAt = performance.now();
  const traceparents = new Set<string>();
  for (const { reservation } of events) {
    if (traceparents.size === TRACES_MAX) break;
    if (reservation.traceparent !== '') traceparents.add(reservation.traceparent);
  }
  const attributes = {
    'db.system.name': 'postgresql',
    'flash_sale.sale_id': saleId,
    'flash_sale.batch_size': events.length,
  };
  const span = { name: 'write batch', kind: 'consumer', startedAt, endedAt, attributes } as const;
  tracing.record({ ...span, parent: '', links: [...traceparents] });
  for (const parent of traceparents) tracing.record({ ...span, parent });
}
