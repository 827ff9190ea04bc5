/**
 * Rebuilds a sale in Redis from PostgreSQL: reservations in the order of their positions, stock from the ledger less held
 * and confirmed units, the definition of the last operation. The waitlist is not in PostgreSQL; the members that Redis
 * still has are kept, except for those that were served since.
 *
 * Everything is staged beside the closed sale, and one call puts it in place.
 */
import { Fault } from '../../domain/fault.ts';
import { formatGaps } from '../../domain/positions.ts';
import type { SaleKey } from '../../lua/keys.ts';
import type { RebuiltSale } from '../../lua/recover/finish-rebuild.ts';
import type { Transaction } from '../../postgres/connection.ts';
import { readNotes } from '../../postgres/merchant-notes.ts';
import type { PersisterContext } from '../context.ts';
import type { StreamConsumer } from '../stream/consumer.ts';
import { readRows } from './rebuild-rows.ts';
import { RebuildStage } from './rebuild-stage.ts';
import { offerFor, SoldTotals, stockOf } from './rebuild-stock.ts';
import { readWaitlist } from './rebuild-waitlist.ts';
import { type Result, type Retry, retry } from './recovery-log.ts';
import { countDiscarded, settleBeforeOpening } from './sale-record.ts';

export interface RebuildPlan {
  /** The timeline that the recovery has begun, and the name under which it closed the sale. */
  timeline: number;
  closing: string;
  /** The last event that PostgreSQL has. */
  events: number;
  /** The last position that may have been returned to a buyer. */
  floor: number;
  /** What of the sale Redis still has: the keys that have the right type. */
  keys: ReadonlySet<SaleKey>;
}

/** Throws errors of both servers. */
export async function rebuild(
  { database }: PersisterContext,
  stream: StreamConsumer,
  transaction: Transaction,
  plan: RebuildPlan,
): Promise<Result | Retry> {
  const { saleId } = stream;
  const discarded = await countDiscarded(transaction, saleId);
  const blocked = (why: string): Result => ({ outcome: 'blocked', report: { why, discarded } });
  const letters = await unresolvedLetters(transaction, saleId);
  if (letters > 0) {
    return blocked(
      `${letters} decisions are dead letters and would be lost: retry or discard them`,
    );
  }
  const stage = new RebuildStage(stream, plan);
  try {
    const sold = await stageRows(stage, stream, transaction, plan);
    if (!sold) return retry('rebuild_superseded');
    const time = await newestTime(transaction, saleId);
    const [seconds, microseconds] = (await stream.server.client.time()) as [number, number];
    const nowMs = Math.max(time, seconds * 1_000 + Math.floor(microseconds / 1_000));
    const offer = await offerFor(transaction, saleId, sold, nowMs);
    if ('why' in offer) {
      await stage.discard();
      return blocked(offer.why);
    }
    const sale: RebuiltSale | undefined = offer.definition && {
      definition: offer.definition,
      stock: stockOf(offer, sold),
      operation: offer.operation,
      operationOutcome: offer.outcome,
      position: plan.floor,
      events: plan.events,
      gaps: formatGaps(sold.gapsUpTo(plan.floor)),
      tickets: sold.lastTicket,
      time,
    };
    // The operations that were counted in are settled before the sale opens.
    const isFinished = await stage.finish(sale, () =>
      settleBeforeOpening(database, saleId, plan, offer.countedIn),
    );
    if (!isFinished) return retry('rebuild_superseded');
    const { holds, waiting, dropped } = stage;
    const { reservations } = sold;
    const report = {
      reservations,
      holds,
      waiting,
      ...(dropped > 0 && { waitlistDropped: dropped }),
      operation: offer.operation,
      discarded,
    };
    return { outcome: sale ? 'rebuilt' : 'removed', report };
  } catch (error) {
    if (!(error instanceof Fault && error.code === 'out_of_memory')) throw error;
    await stage.discard();
    return blocked(
      'Redis is full, and a rebuild needs memory beside the old data: raise maxmemory, or remove other keys',
    );
  }
}

/** Stages the reservations, their merchant notes and the waitlist. Undefined: superseded. */
async function stageRows(
  stage: RebuildStage,
  stream: StreamConsumer,
  transaction: Transaction,
  { keys }: Pick<RebuildPlan, 'keys'>,
): Promise<SoldTotals | undefined> {
  // Reserves the stage before the first read, so that this rebuild cannot overtake a later one that reads more.
  if (!(await stage.send())) return undefined;
  const sold = new SoldTotals();
  for await (const rows of readRows(transaction, stream.saleId)) {
    for (const row of rows) {
      sold.count(row);
      stage.addReservation(row);
      if (stage.isFull && !(await stage.send())) return undefined;
    }
  }
  for await (const notes of readNotes(transaction, stream.saleId)) {
    for (const { position, note } of notes) stage.addNote(position, note);
    if (stage.isFull && !(await stage.send())) return undefined;
  }
  const waitlist = readWaitlist(stream, transaction, keys);
  for await (const waiters of waitlist.pages()) {
    // PostgreSQL ends transactions that are idle for long, and their locks with them.
    await transaction`SELECT 1`;
    for (const { member, field, sku, ticket } of waiters) {
      if (!sold.countWaiting(sku, ticket)) continue;
      stage.addWaiting(member, field);
      if (stage.isFull && !(await stage.send())) return undefined;
    }
  }
  stage.dropped = waitlist.dropped;
  return sold;
}

async function unresolvedLetters(transaction: Transaction, saleId: string): Promise<number> {
  const [row] = await transaction<{ count: number }[]>`
    SELECT count(*) AS count FROM dead_letters WHERE sale_id = ${saleId} AND resolved_at IS NULL`;
  return row!.count;
}

/** Of decisions, and of what was announced: the sale's time must not go back behind them. 0: there are none. */
async function newestTime(transaction: Transaction, saleId: string): Promise<number> {
  const [row] = await transaction<{ time: number }[]>`
    SELECT greatest(
      (SELECT extract(epoch FROM reserved_at) * 1000 FROM reservations
        WHERE sale_id = ${saleId} ORDER BY position DESC LIMIT 1),
      (SELECT extract(epoch FROM occurred_at) * 1000 FROM reservation_events
        WHERE sale_id = ${saleId} ORDER BY event DESC LIMIT 1),
      (SELECT looked_at_ms FROM sale_announcements WHERE sale_id = ${saleId}), 0)::bigint AS time`;
  return row!.time;
}
