/** Decides from both servers' data whether a closed sale can be renewed, must be rebuilt, or stays closed. */
import type { Examination } from '../../lua/recover/examine-sale.ts';
import type { PersisterContext } from '../context.ts';
import type { ClosedSale } from './close-and-drain.ts';
import type { SaleRecord } from './sale-record.ts';

/** `before`: the sale before it was closed. */
export function compare(
  rules: PersisterContext,
  before: Examination,
  record: SaleRecord,
  { history, hasUnreadable, progress, found, restored }: ClosedSale,
) {
  const isOurs = history === 'same' || history === 'newer';
  const isDamaged = before.damages.length > 0;
  const isComplete =
    isOurs &&
    !found.isForgotten &&
    (found.events ?? -1) >= progress.events &&
    (found.operation ?? -1) >= progress.operation;
  // A promoted server, or one with late fsyncs, may have lost decisions that PostgreSQL never received.
  const mayForget =
    rules.durability === 'fast' || (rules.durability === 'safe' && found.wasPromoted);
  const wasLost = !isComplete || mayForget;
  const skipped = wasLost ? rules.positionsSkipped : 0;
  const last = Math.max(record.positionFloor, progress.position, found.position ?? 0);
  // All that the server has was written, so more events than PostgreSQL has are none.
  const isAhead = !hasUnreadable && (found.events ?? 0) > progress.events;
  const isRenewal = isComplete && !isDamaged && !isAhead && record.request === 0;
  // The operator has seen what is lost, and requests the recovery again.
  const isAccepted = record.request > 0 && record.reportedLost === restored.lost;
  const why =
    restored.lost !== '' && !isAccepted
      ? `no server has a record of positions ${restored.lost}, and a rebuild drops them: restore a newer backup, or request the recovery again to accept the loss`
      : hasUnreadable && !isRenewal
        ? 'the stream has entries that cannot be written: of a version that this persister cannot read (run that version), or after events that are missing'
        : undefined;
  return {
    next: why !== undefined ? 'blocked' : isRenewal ? 'renew' : 'rebuild',
    why,
    /** The last position that may have been returned to a buyer. */
    floor: last + skipped,
    /** Positions left out because they may have been assigned and forgotten. */
    skipped,
    report: {
      cause: causeOf(before, record, history, isComplete),
      ...progress,
      ...(isDamaged && { damages: before.damages.join(', ') }),
      ...(restored.events > 0 && { restoredEvents: restored.events }),
      ...(restored.operations > 0 && { restoredOperations: restored.operations }),
      ...(restored.lost !== '' && { lost: restored.lost }),
    },
  } as const;
}

function causeOf(
  before: Examination,
  record: SaleRecord,
  history: ClosedSale['history'],
  isComplete: boolean,
): string {
  if (record.request > 0) return 'requested';
  if (before.damages.length > 0) return 'redis_damaged';
  if (before.isForgotten) return 'redis_forgot_the_sale';
  if (history === 'newer') return 'postgres_is_older';
  if (history === 'older') return 'redis_is_on_an_older_timeline';
  return isComplete ? 'redis_restarted' : 'redis_forgot_decisions';
}
