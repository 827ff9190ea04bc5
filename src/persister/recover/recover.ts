/**
 * Opens a sale again that closed by itself, because its Redis server restarted, was replaced or has forgotten it:
 *
 *   all that the server still has goes to PostgreSQL ──▶ does it have all that PostgreSQL has?
 *                                                          yes ──▶ renewed: its fence is set to this server
 *                                                          no  ──▶ rebuilt from PostgreSQL, see rebuild.ts
 *
 * One recovery a sale at a time, by locks in PostgreSQL. Each begins another timeline, which PostgreSQL knows before
 * the sale opens: what a slow process still holds of an older one is never written.
 */
import { nanoid } from 'nanoid';
import type { CommonConfig } from '../../config.ts';
import { type ReadSaleReply, readSale } from '../../lua/read/read-sale.ts';
import { closeSale } from '../../lua/recover/close-sale.ts';
import { renewFence } from '../../lua/recover/renew-fence.ts';
import type { Sql, Transaction } from '../../postgres/connection.ts';
import { tryLockSale } from '../../postgres/sale-locks.ts';
import { type SettledOperation, settleOperation } from '../../postgres/settle-operation.ts';
import type { Shards } from '../../redis/shards.ts';
import type { Delivery, StreamConsumer } from '../stream/consumer.ts';
import { sortEntries } from '../stream/entries.ts';
import { persist, type WriteContext } from '../write/persist.ts';
import type { WriteOutcome } from '../write/write-batch.ts';
import { rebuild } from './rebuild.ts';
import type { FinishedRecovery, RecoveryLog } from './recovery-log.ts';

/** Of a batch of buyers each; one after the other under light load, so many must not take a transaction each. */
const ENTRIES_PER_READ = 100;
const EVERYTHING = '0-0';

export interface RecoveryContext extends WriteContext {
  shards: Shards;
  recoveryLog: RecoveryLog;
  durability: CommonConfig['DURABILITY'];
  /** So many that fewer were given since PostgreSQL last heard of one: see where it is computed. */
  positionsSkipped: number;
}

/**
 * `open`: it can be drained. `busy`: somebody else is at it, ask again soon. `absent`: nowhere but in its definition.
 * `closed`: it can't be recovered without an operator.
 */
export type SaleCondition =
  | { condition: 'open'; timeline: number }
  | { condition: 'busy' | 'absent' | 'closed' };

/** Finds out whether a sale can be drained, and recovers it where that is what it takes. */
export async function openSale(
  context: RecoveryContext,
  stream: StreamConsumer,
): Promise<SaleCondition> {
  const { saleId, server } = stream;
  const reply = await server.call(readSale, saleId);
  const memory = await context.database.run((sql) => recall(sql, saleId));
  if (!memory) return { condition: 'absent' };
  if (reply.outcome === 'unknown_sale' && !memory.wasInRedis) return { condition: 'absent' };
  if (isOpen(reply, memory)) {
    await stream.ensureGroup();
    // Looked at again: if the server forgot the sale just before, the group was made anew, and reading would miss nothing.
    const again = await server.call(readSale, saleId);
    if (again.outcome !== 'known') return { condition: 'busy' };
    context.recoveryLog.unblock(saleId);
    return { condition: 'open', timeline: memory.timeline };
  }
  // An old master that was cut off may still be deciding, if in vain.
  if (server.oldMasterGraceMs > 0) return { condition: 'busy' };
  return { condition: await recover(context, stream) };
}

/** What PostgreSQL knows of a sale's lines of decisions. */
interface Memory {
  timeline: number;
  /** The closing that it was begun after: all that the server then had is here. Empty: it had nothing of ours. */
  closing: string;
  positionFloor: number;
  /** Redis took an operation of it, or decided something. */
  wasInRedis: boolean;
  /** The newest request of an operator's to recover it, whatever state it is in; 0: none. */
  request: number;
}

async function recall(sql: Sql | Transaction, saleId: string): Promise<Memory | undefined> {
  const [row] = await sql<Memory[]>`
    SELECT timeline, closing, position_floor,
      EXISTS (SELECT FROM checkpoints WHERE sale_id = ${saleId})
        OR EXISTS (SELECT FROM sale_operations WHERE sale_id = ${saleId} AND outcome <> 'pending') AS was_in_redis,
      coalesce((SELECT max(recovery_id) FROM sale_recoveries
        WHERE sale_id = ${saleId} AND state = 'requested'), 0)::bigint AS request
    FROM sales WHERE sale_id = ${saleId}`;
  return row;
}

function isOpen(reply: ReadSaleReply, memory: Memory): boolean {
  return (
    reply.outcome === 'known' && reply.state.timeline === memory.timeline && memory.request === 0
  );
}

/** The next look at the sale finds it open, unless it was closed again meanwhile. */
async function recover(
  context: RecoveryContext,
  stream: StreamConsumer,
): Promise<'busy' | 'closed'> {
  const { saleId } = stream;
  const startedMs = performance.now();
  const done = await context.database.once((sql) => underLock(sql, context, stream));
  if (done.outcome === 'busy') return 'busy';
  const seconds = Math.round(performance.now() - startedMs) / 1_000;
  const { outcome, report, request } = done;
  await context.recoveryLog.record(saleId, { outcome, report: { seconds, ...report }, request });
  if (outcome === 'blocked') return 'closed';
  await context.shards.publishChanged(saleId);
  return 'busy';
}

type Done = { outcome: 'busy' } | FinishedRecovery;

/**
 * The locks end with the transaction, so also when this process dies. When only their connection dies, `begin` rejects
 * at once, while the work goes on without them until it asks PostgreSQL for something. It does no harm then, and what
 * came of it is what counts: the transaction itself changes nothing.
 */
async function underLock(
  sql: Sql,
  context: RecoveryContext,
  stream: StreamConsumer,
): Promise<Done> {
  let work: Promise<Done> | undefined;
  try {
    return await sql.begin<Done>((transaction) => {
      work = recoverAlone(context, stream, transaction);
      return work;
    });
  } catch (error) {
    if (!work) throw error;
    return work;
  }
}

/**
 * All on the one server that the stream is of. It closes the sale under a name of its own, and opens it only while it
 * has that name: then nobody else has, and nothing was decided since.
 */
async function recoverAlone(
  context: RecoveryContext,
  stream: StreamConsumer,
  transaction: Transaction,
): Promise<Done> {
  const { saleId, server } = stream;
  if (!(await tryLockSale(transaction, saleId))) return { outcome: 'busy' };
  const memory = await recall(transaction, saleId);
  const found = await server.call(readSale, saleId);
  if (!memory || isOpen(found, memory)) return { outcome: 'busy' };
  const closing = nanoid();
  const closed = await server.call(closeSale, saleId, {
    closing,
    timeline: memory.timeline,
    begunAfter: memory.closing,
  });
  const isOurs = closed === 'closed';

  // Nothing is decided from here on, so what is drained now is all that this server has.
  const drained = isOurs ? await drain(context, stream, memory.timeline, transaction) : 'nothing';
  if (drained === 'busy') return { outcome: 'busy' };
  // Read by this transaction, which also proves that the locks are still ours.
  const reached = await progressOf(transaction, saleId);
  const reply = await server.call(readSale, saleId);
  const state = reply.outcome === 'unknown_sale' ? undefined : reply.state;
  // Another recovery came between, or Redis has forgotten the sale meanwhile.
  if ((state?.closing ?? '') !== (closed === 'forgotten' ? '' : closing)) {
    return { outcome: 'busy' };
  }
  const isComplete =
    isOurs &&
    state !== undefined &&
    state.events >= reached.events &&
    state.operation >= reached.operation;
  // A server that was promoted, or that syncs late, may have forgotten what PostgreSQL never heard of.
  const mayForget =
    context.durability === 'fast' || (context.durability === 'safe' && state?.wasPromoted === true);
  const wasLost = !isComplete || mayForget;
  const skip = wasLost ? context.positionsSkipped : 0;
  const last = Math.max(memory.positionFloor, reached.position, state?.position ?? 0);
  const floor = last + skip;
  const { request } = memory;
  const report = { cause: causeOf(found, memory, isComplete), ...reached };

  const isRenewal = isComplete && request === 0;
  if (!isRenewal && drained === 'waiting') {
    return {
      outcome: 'blocked',
      report: {
        ...report,
        why: 'entries of a version that this persister does not know wait in the stream: run that version',
      },
      request,
    };
  }
  const timeline = await beginTimeline(context, stream, {
    after: memory.timeline,
    above: state?.timeline ?? 0,
    // What another line has decided does not become ours by being closed.
    closing: isOurs ? closing : '',
  });
  if (timeline === undefined) return { outcome: 'busy' };
  // What a recovery whose locks had died was still writing is written now, or never.
  if ((await progressOf(transaction, saleId)).events !== reached.events) {
    return { outcome: 'busy' };
  }
  if (isRenewal) {
    if (!(await raiseFloor(context, saleId, timeline, floor))) return { outcome: 'busy' };
    const renewal = { ...reached, timeline, closing, positionFloor: floor };
    const renewed = await server.call(renewFence, saleId, renewal);
    if (renewed !== 'renewed') return { outcome: 'busy' };
    return {
      outcome: 'renewed',
      report: { ...report, timeline, positionsSkipped: skip },
      request,
    };
  }
  const discarded = await discardedLetters(transaction, saleId);
  const rebuilt = await rebuild(server, transaction, {
    saleId,
    timeline,
    closing,
    events: reached.events,
    position: floor,
    beforeOpening: (countedIn) => raiseFloor(context, saleId, timeline, floor, countedIn),
  });
  if (rebuilt === 'superseded') return { outcome: 'busy' };
  const { outcome, ...details } = rebuilt;
  return {
    outcome,
    report: { ...report, timeline, positionsSkipped: skip, discarded, ...details },
    request,
  };
}

/**
 * Brings into PostgreSQL what this server still has of the timeline that PostgreSQL is on. `waiting`: entries that this
 * version can't read stay in the stream, maybe with others behind them. `busy`: the connection was lost, or another
 * recovery came between.
 */
async function drain(
  context: RecoveryContext,
  stream: StreamConsumer,
  timeline: number,
  transaction: Transaction,
): Promise<'drained' | 'waiting' | 'busy'> {
  await stream.ensureGroup();
  const guard = { lock: 'held', timeline } as const;
  let areWaiting = false;
  let found = 0;
  const write = async (delivery: Delivery): Promise<WriteOutcome> => {
    // PostgreSQL ends transactions that are idle for long, and the locks with them.
    await transaction`SELECT 1`;
    const sorted = await sortEntries(stream.saleId, delivery.entries);
    const { outcome, waiting } = await persist(context, stream, sorted, guard);
    areWaiting ||= waiting.length > 0;
    found += sorted.entryIds.length;
    return outcome;
  };
  // Until nothing more is found: while we look at one, another consumer may read what is new.
  do {
    found = 0;
    let from = EVERYTHING;
    // Also what other consumers have read and not acknowledged, dead or alive: writing it twice is harmless.
    do {
      const page = await stream.claim(0, from, ENTRIES_PER_READ);
      const outcome = await write(page);
      if (outcome !== 'written') return outcome === 'ahead' ? 'waiting' : 'busy';
      from = page.next;
    } while (from !== EVERYTHING);
    for (;;) {
      const delivery = await stream.readNew(ENTRIES_PER_READ);
      if (delivery.entries.length === 0) break;
      const outcome = await write(delivery);
      if (outcome !== 'written') return outcome === 'ahead' ? 'waiting' : 'busy';
    }
  } while (found > 0);
  return areWaiting ? 'waiting' : 'drained';
}

interface Progress {
  events: number;
  operation: number;
  position: number;
}

async function progressOf(transaction: Transaction, saleId: string): Promise<Progress> {
  const [row] = await transaction<Progress[]>`
    SELECT coalesce((SELECT event FROM checkpoints WHERE sale_id = ${saleId}), 0)::bigint AS events,
      coalesce((SELECT max(operation) FROM sale_operations
        WHERE sale_id = ${saleId} AND outcome <> 'pending'), 0)::bigint AS operation,
      coalesce((SELECT max(position) FROM reservations WHERE sale_id = ${saleId}), 0)::bigint AS position`;
  return row!;
}

/** Dead letters whose events are nowhere any more, an operator having given them up. */
async function discardedLetters(transaction: Transaction, saleId: string): Promise<number> {
  const [row] = await transaction<{ count: number }[]>`
    SELECT count(*) AS count FROM dead_letters letter
    WHERE sale_id = ${saleId} AND discard_reason IS NOT NULL AND NOT EXISTS (
      SELECT FROM reservation_events WHERE sale_id = letter.sale_id AND event = letter.event)`;
  return row!.count;
}

/**
 * Committed at once, on a connection of its own, before anything is sold on the new timeline. It may have to wait for
 * PostgreSQL, and the locks die with a connection: so only from the timeline that was found. Undefined: there is no
 * sale any more, or another recovery came between. A recovery that fails later has cost a number: another try must not
 * have the same, or what the first one left under way could pass for its own. The server's run id is for whoever looks.
 */
async function beginTimeline(
  context: RecoveryContext,
  { saleId, server }: StreamConsumer,
  next: { after: number; above: number; closing: string },
): Promise<number | undefined> {
  const [row] = await context.database.run(
    (sql) => sql<{ timeline: number }[]>`
      UPDATE sales SET timeline = greatest(timeline, ${next.above}::bigint) + 1, fence = ${server.runId}, closing = ${next.closing}
      WHERE sale_id = ${saleId} AND timeline = ${next.after} RETURNING timeline`,
  );
  return row?.timeline;
}

/**
 * No position up to this one is given again. Committed right before the sale opens, not before: a recovery that got no
 * further has had nobody told of a position, and the next one leaves out the same ones, not as many more. With it go
 * the operations that the rebuilt sale counts in: a sale must not be ahead of PostgreSQL by more than one. False:
 * another recovery came between.
 */
async function raiseFloor(
  context: RecoveryContext,
  saleId: string,
  timeline: number,
  floor: number,
  countedIn: readonly SettledOperation[] = [],
): Promise<boolean> {
  return context.database.run((sql) =>
    sql.begin(async (transaction) => {
      const { count } = await transaction`
        UPDATE sales SET position_floor = ${floor}
        WHERE sale_id = ${saleId} AND timeline = ${timeline}`;
      if (count === 0) return false;
      for (const operation of countedIn) await settleOperation(transaction, saleId, operation);
      return true;
    }),
  );
}

function causeOf(found: ReadSaleReply, memory: Memory, isComplete: boolean): string {
  if (memory.request > 0) return 'requested';
  if (found.outcome === 'unknown_sale') return 'redis_forgot_the_sale';
  return isComplete ? 'redis_restarted' : 'redis_forgot_decisions';
}
