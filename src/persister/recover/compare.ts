/** Decides from both servers' data whether a closed sale can be renewed, must be rebuilt, or stays closed. */
import type { ReadSaleReply } from '../../lua/read/read-sale.ts';
import type { PersisterContext } from '../context.ts';
import type { ClosedSale } from './close-and-drain.ts';
import type { SaleRecord } from './sale-record.ts';

export function compare(
  rules: PersisterContext,
  found: ReadSaleReply,
  record: SaleRecord,
  { isSameTimeline, hasUnreadable, progress, state }: ClosedSale,
) {
  const isComplete =
    isSameTimeline &&
    state !== undefined &&
    state.events >= progress.events &&
    state.operation >= progress.operation;
  // A promoted server, or one with late fsyncs, may have lost decisions that PostgreSQL never received.
  const mayForget =
    rules.durability === 'fast' || (rules.durability === 'safe' && state?.wasPromoted === true);
  const wasLost = !isComplete || mayForget;
  const skipped = wasLost ? rules.positionsSkipped : 0;
  const last = Math.max(record.positionFloor, progress.position, state?.position ?? 0);
  const isRenewal = isComplete && record.request === 0;
  return {
    next: isRenewal ? 'renew' : hasUnreadable ? 'blocked' : 'rebuild',
    /** The last position that may have been returned to a buyer. */
    floor: last + skipped,
    /** Positions left out because they may have been assigned and forgotten. */
    skipped,
    report: { cause: causeOf(found, record, isComplete), ...progress },
  } as const;
}

function causeOf(found: ReadSaleReply, record: SaleRecord, isComplete: boolean): string {
  if (record.request > 0) return 'requested';
  if (found.outcome === 'unknown_sale') return 'redis_forgot_the_sale';
  return isComplete ? 'redis_restarted' : 'redis_forgot_decisions';
}
