/**
 * Opens a sale that closed because its Redis server restarted, was replaced or lost the sale:
 *
 *           unknown to Redis and                    open on PostgreSQL's timeline,
 *           never applied there                     no recovery requested
 *   absent ◀──────────────────────── CHECK ─────────────────────────────────────▶ open
 *                                      │ ╲──── Redis has another sale with this id ────▶ blocked
 *                                      ▼ otherwise
 *                               CLOSE AND DRAIN   under both locks of the sale: name the closing, write the stream
 *                                      ▼
 *                                   RESTORE       what PostgreSQL lacks and the stream no longer has, from the records
 *                                      ▼
 *                                   COMPARE ───── entries are unreadable, positions are lost ──▶ blocked
 *                     Redis has all    │    Redis lacks something, is damaged,
 *                 that PostgreSQL has  │    or an operator requested it
 *                        ┌─────────────┴─────────────┐
 *                        ▼ begin the next timeline   ▼
 *                      RENEW                      REBUILD ── dead letters, shortage, Redis full ──▶ blocked
 *                  set the fence              from PostgreSQL
 *                        └─────────────┬─────────────┘
 *                                      ▼
 *                                  recovered ──▶ CHECK
 *
 * Each state can also end in `retry`, with its reason: see `RetryReason`. The files are close-and-drain.ts,
 * restore/restore.ts, compare.ts and rebuild.ts. One recovery runs per sale, by locks in PostgreSQL. Each begins a
 * timeline, which PostgreSQL stores before the sale opens: events of an older timeline that a slow process still holds
 * are never written.
 */
import { type Examination, examineSale } from '../../lua/recover/examine-sale.ts';
import { type Renewal, type RenewFenceReply, renewFence } from '../../lua/recover/renew-fence.ts';
import { inTransaction, type Sql, type Transaction } from '../../postgres/connection.ts';
import { tryLockSale } from '../../postgres/sale-locks.ts';
import type { PinnedServer } from '../../redis/shard.ts';
import type { PersisterContext } from '../context.ts';
import type { StreamConsumer } from '../stream/consumer.ts';
import { closeAndDrain } from './close-and-drain.ts';
import { compare } from './compare.ts';
import { rebuild } from './rebuild.ts';
import {
  type FinishedRecovery,
  type RecoveryLog,
  type Result,
  type Retry,
  type RetryReason,
  retry,
} from './recovery-log.ts';
import {
  beginTimeline,
  readProgress,
  readRecord,
  type SaleRecord,
  settleBeforeOpening,
} from './sale-record.ts';

export interface RecoveryContext extends PersisterContext {
  recoveryLog: RecoveryLog;
}

/** `absent`: Redis has never had the sale. `blocked`: it waits until an operator acts. */
export type SaleCondition =
  | { outcome: 'open'; timeline: number }
  | { outcome: 'absent' | 'blocked' | 'recovered' }
  | Retry;

/** `isFailing`: a script failed on the data of the sale, so it counts as damaged. */
interface Signs {
  isFailing: boolean;
}

/** Finds out whether a sale can be drained, and recovers it if it is closed. */
export async function openSale(
  context: RecoveryContext,
  stream: StreamConsumer,
  signs: Signs,
): Promise<SaleCondition> {
  const condition = await check(context, stream, signs);
  if (condition.outcome === 'open') context.recoveryLog.opened(stream.saleId);
  if (condition.outcome === 'retry') context.recoveryLog.postponed(stream.saleId, condition.reason);
  return condition;
}

async function check(
  context: RecoveryContext,
  stream: StreamConsumer,
  signs: Signs,
): Promise<SaleCondition> {
  const { saleId, server } = stream;
  const found = await examine(stream, signs);
  const record = await context.database.run((sql) => readRecord(sql, saleId));
  if (!record) return { outcome: 'absent' };
  if (found.isForgotten && !record.wasInRedis) return { outcome: 'absent' };
  if (hasAnotherSale(found, record)) return block(context, saleId, found, record);
  const isBehind = await isPostgresBehind(context, stream, found);
  if (found.damages.length > 0) context.recoveryLog.damaged(saleId, found.damages);
  if (isBehind || !isOpen(found, record, server.runId)) {
    if (await mayAnotherDecide(server, found, record)) return retry('old_master_may_still_decide');
    return recover(context, stream, signs);
  }
  await stream.ensureGroup();
  // If the server forgot the sale just before, the group is a new one, and reading it would not show the loss.
  const again = await server.call(examineSale, saleId);
  if (again.isForgotten) return retry('redis_forgot_the_sale');
  if (!isOpen(again, record, server.runId)) return retry('closed_by_another_recovery');
  return { outcome: 'open', timeline: record.timeline };
}

/**
 * Whether Redis has another sale with the same id. That happens if an older backup was restored, which lacks that sale,
 * and an operator created a new one while Redis was unavailable. A draft in Redis does not count: it may be a deleted one.
 */
function hasAnotherSale(
  { isForgotten, timeline, events, definition }: Examination,
  record: SaleRecord,
): boolean {
  const isDraft = definition?.status === 'draft' && events === 0;
  return (
    !record.wasInRedis &&
    !isForgotten &&
    timeline !== undefined &&
    timeline < record.timeline &&
    !isDraft
  );
}

/** Leaves Redis' sale as it is: it may be selling. */
async function block(
  { recoveryLog }: RecoveryContext,
  saleId: string,
  { events = 0 }: Examination,
  { request }: SaleRecord,
): Promise<SaleCondition> {
  const cause = 'redis_has_another_sale';
  const why =
    'Redis has another sale with this id, which PostgreSQL lacks: delete this sale, then add the other one, see step 4 of "PostgreSQL is older than Redis" in docs/OPERATIONS.md';
  await recoveryLog.record(saleId, { outcome: 'blocked', report: { cause, events, why }, request });
  return { outcome: 'blocked' };
}

/**
 * Whether an old master that is cut off may still decide, although nothing of it will count. Only the server that the sale
 * was open on can: each recovery begins a timeline in PostgreSQL before its server decides, so no other one has followed
 * this timeline.
 */
async function mayAnotherDecide(
  server: PinnedServer,
  { decidedOn, timeline }: Examination,
  record: SaleRecord,
): Promise<boolean> {
  if (server.oldMasterGraceMs === 0) return false;
  return timeline !== record.timeline || !(await server.isFollowedBy(decidedOn));
}

async function examine(
  { server, saleId }: StreamConsumer,
  { isFailing }: Signs,
): Promise<Examination> {
  const found = await server.call(examineSale, saleId);
  if (isFailing && !found.isForgotten) found.damages.push('a script fails on it');
  return found;
}

function isOpen(found: Examination, record: SaleRecord, runId: string): boolean {
  return (
    !found.isForgotten &&
    found.fence === runId &&
    found.timeline === record.timeline &&
    found.damages.length === 0 &&
    record.request === 0
  );
}

/**
 * Whether PostgreSQL lacks an event that the stream no longer has, or a sale operation that Redis has applied: then an
 * older backup was restored. Redis was read before, and it trims an event, or applies an operation, only when PostgreSQL
 * has it.
 */
export async function isPostgresBehind(
  { database }: Pick<PersisterContext, 'database'>,
  stream: StreamConsumer,
  { events, timeline, keys, operation = 0 }: Examination,
): Promise<boolean> {
  if (events === undefined || timeline === undefined) return false;
  const first = keys.has('events') ? await stream.firstEvent() : undefined;
  const needed = first === undefined ? events : first - 1;
  return database.run(async (sql) => {
    // An unreadable entry that was set aside does not move the checkpoint; the next event does.
    const [row] = await sql<{ isBehind: boolean }[]>`
      SELECT last_operation < ${operation}
        OR coalesce((SELECT event FROM checkpoints WHERE sale_id = ${stream.saleId}), 0) < ${needed}
          AND NOT EXISTS (SELECT FROM dead_letters WHERE sale_id = ${stream.saleId} AND event IS NULL) AS is_behind
      FROM sales WHERE sale_id = ${stream.saleId}`;
    return row?.isBehind ?? false;
  });
}

async function recover(
  context: RecoveryContext,
  stream: StreamConsumer,
  signs: Signs,
): Promise<SaleCondition> {
  const { saleId } = stream;
  const startedMs = performance.now();
  const result = await context.database.runOnce((sql) =>
    recoverInTransaction(sql, context, stream, signs),
  );
  if (result.outcome === 'retry') return result;
  const seconds = Math.round(performance.now() - startedMs) / 1_000;
  await context.recoveryLog.record(saleId, { ...result, report: { seconds, ...result.report } });
  if (result.outcome === 'blocked') return { outcome: 'blocked' };
  await context.shards.publishChanged(saleId);
  return { outcome: 'recovered' };
}

/**
 * The locks end with the transaction, also when this process dies. If only their connection dies, `begin` rejects at
 * once, and the work continues without locks until its next query. It does no harm then, and its result counts: the
 * transaction itself changes nothing.
 */
async function recoverInTransaction(
  sql: Sql,
  context: RecoveryContext,
  stream: StreamConsumer,
  signs: Signs,
): Promise<FinishedRecovery | Retry> {
  let work: Promise<FinishedRecovery | Retry> | undefined;
  try {
    return await inTransaction(sql, (transaction) => {
      work = runStates(context, stream, transaction, signs);
      return work;
    });
  } catch (error) {
    if (!work) throw error;
    return work;
  }
}

/** All calls go to the one server that the stream is pinned to. */
async function runStates(
  context: RecoveryContext,
  stream: StreamConsumer,
  transaction: Transaction,
  signs: Signs,
): Promise<FinishedRecovery | Retry> {
  const { saleId, server } = stream;
  if (!(await tryLockSale(transaction, saleId))) return retry('lock_held');
  const record = await readRecord(transaction, saleId);
  const found = await examine(stream, signs);
  if (!record) return retry('sale_deleted');
  const isBehind = await isPostgresBehind(context, stream, found);
  if (isOpen(found, record, server.runId) && !isBehind) return retry('already_open');
  const { request } = record;

  const closed = await closeAndDrain(context, stream, record, transaction);
  if (closed.outcome === 'retry') return closed;
  const comparison = compare(context, found, record, closed);
  if (comparison.why !== undefined) {
    return { outcome: 'blocked', report: { ...comparison.report, why: comparison.why }, request };
  }
  const timeline = await beginTimeline(context.database, stream, {
    after: closed.timeline,
    above: closed.found.timeline ?? 0,
    // Closing another timeline does not make its decisions part of this one.
    closing: closed.history === 'older' ? '' : closed.closing,
  });
  if (timeline === undefined) return retry('timeline_changed');
  // An older recovery that lost its locks may still write, but not after the timeline began: so the check is repeated.
  if ((await readProgress(transaction, saleId)).events !== closed.progress.events) {
    return retry('events_written_meanwhile');
  }
  const { floor, skipped: positionsSkipped } = comparison;
  const { closing, progress } = closed;
  const reopened =
    comparison.next === 'renew'
      ? await renew(context, stream, { ...progress, timeline, closing, positionFloor: floor })
      : await rebuild(context, stream, transaction, {
          ...progress,
          timeline,
          closing,
          floor,
          keys: closed.found.keys,
        });
  if (reopened.outcome === 'retry') return reopened;
  const report = { ...comparison.report, timeline, positionsSkipped, ...reopened.report };
  return { outcome: reopened.outcome, report, request };
}

const NOT_RENEWED: Record<Exclude<RenewFenceReply, 'renewed'>, RetryReason> = {
  behind: 'redis_behind_postgres',
  superseded: 'closed_by_another_recovery',
  unknown_sale: 'redis_forgot_the_sale',
};

async function renew(
  { database }: PersisterContext,
  { saleId, server }: StreamConsumer,
  renewal: Renewal,
): Promise<Result | Retry> {
  const { timeline, positionFloor: floor } = renewal;
  if (!(await settleBeforeOpening(database, saleId, { timeline, floor })))
    return retry('timeline_changed');
  const reply = await server.call(renewFence, saleId, renewal);
  return reply === 'renewed' ? { outcome: reply, report: {} } : retry(NOT_RENEWED[reply]);
}
