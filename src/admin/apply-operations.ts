/**
 * Applies recorded operations to Redis, in order and once. An operation is
 *
 *   pending ──applied──▶ applied
 *      └──refused by Redis──▶ insufficient_stock
 *
 * One transaction each, under a lock of the sale, so that at most one operation is ever ahead of what PostgreSQL
 * knows: for that one, Redis repeats its answer. Recording does not take this lock, so it never waits for Redis.
 */
import { Fault, unreachable } from '../domain/fault.ts';
import type { SaleDefinition } from '../domain/sale.ts';
import { applyOperation, type OperationReply, type StockChange } from '../lua/apply-operation.ts';
import { readSale } from '../lua/read-sale.ts';
import type { Transaction } from '../postgres/connection.ts';
import type { Servers } from './dependencies.ts';

/** `settled`: nothing is pending. The others: something is, and why. */
export type ApplicationState = 'settled' | 'recovering' | 'unavailable';

type Outcome = 'applied' | 'insufficient_stock';

interface RecordedOperation {
  operation: number;
  definition: SaleDefinition;
  changes: StockChange[];
  outcome: Outcome | 'pending';
}

/** Any number, the same in every process that applies operations. */
const LOCK_CLASS = 57_024;

export async function applyPending(servers: Servers, saleId: string): Promise<ApplicationState> {
  for (;;) {
    const step = await servers.sql.begin((tx) => applyNext(servers, tx, saleId));
    if (step !== 'applied') return step;
    await servers.shards.publishChanged(saleId).catch(() => undefined);
  }
}

/**
 * Brings back what a restarted Redis has lost of a sale: its decisions were found complete, but operations are not
 * among them, and without a withdrawal that buyers never see it would sell units that are gone. Returns how many.
 */
export async function applyLost(servers: Servers, saleId: string): Promise<number> {
  return servers.sql.begin(async (tx) => {
    await lockApplication(tx, saleId);
    const reply = await servers.shards.call(readSale, saleId, saleId);
    if (reply.outcome !== 'known') return 0;
    const above = reply.state.operation;
    const [row] = await tx<{ settled: number }[]>`
      SELECT coalesce(max(operation), 0)::bigint AS settled FROM sale_operations
      WHERE sale_id = ${saleId} AND outcome <> 'pending'`;
    const lost = row!.settled - above;
    if (lost <= 0) return 0;
    await applyAgain(servers, tx, saleId, { above, below: row!.settled + 1 });
    return lost;
  });
}

/** Keeps other processes from applying operations of this sale until the transaction ends. */
export async function lockApplication(tx: Transaction, saleId: string): Promise<void> {
  await tx`SELECT pg_advisory_xact_lock(${LOCK_CLASS}, hashtext(${saleId}))`;
}

async function applyNext(
  servers: Servers,
  tx: Transaction,
  saleId: string,
): Promise<ApplicationState | 'applied'> {
  await lockApplication(tx, saleId);
  const [next] = await tx<RecordedOperation[]>`
    SELECT operation, definition, changes, outcome FROM sale_operations
    WHERE sale_id = ${saleId} AND outcome = 'pending' ORDER BY operation LIMIT 1`;
  if (!next) return 'settled';
  try {
    let reply = await send(servers, saleId, next);
    const known = await lastKnown(tx, saleId, next.operation, reply);
    if (known !== undefined) {
      const caughtUp = await applyAgain(servers, tx, saleId, {
        above: known,
        below: next.operation,
      });
      if (!caughtUp) return 'recovering';
      reply = await send(servers, saleId, next);
    }
    switch (reply.outcome) {
      case 'applied':
      case 'insufficient_stock':
        await writeOutcome(servers, tx, saleId, next, reply.outcome);
        return 'applied';
      case 'gap':
        servers.log.error(
          { saleId, operation: next.operation, reply },
          'redis has other operations',
        );
        return 'recovering';
      case 'recovering':
      case 'unknown_sale':
        return 'recovering';
      default:
        return unreachable(reply);
    }
  } catch (error) {
    if (!(error instanceof Fault) || error.code === 'reply_malformed') throw error;
    servers.log.warn(
      { saleId, operation: next.operation, reason: error.message },
      'an operation stays pending',
    );
    return 'unavailable';
  }
}

function send(
  servers: Servers,
  saleId: string,
  { operation, definition, changes }: RecordedOperation,
): Promise<OperationReply> {
  return servers.shards.call(applyOperation, saleId, { operation, definition, changes });
}

/**
 * The last operation that Redis has, when it lacks some that PostgreSQL knows as applied. A sale that Redis does not
 * know at all is a case for recovery, unless nobody can have bought in it: then its operations are all there was.
 */
async function lastKnown(
  tx: Transaction,
  saleId: string,
  operation: number,
  reply: OperationReply,
): Promise<number | undefined> {
  if (reply.outcome === 'gap') return reply.applied < operation ? reply.applied : undefined;
  if (reply.outcome !== 'unknown_sale') return undefined;
  const [row] = await tx<{ neverOpened: boolean }[]>`
    SELECT NOT EXISTS (SELECT FROM sale_operations WHERE sale_id = ${saleId} AND outcome = 'applied'
        AND definition->>'status' <> 'draft')
      AND NOT EXISTS (SELECT FROM checkpoints WHERE sale_id = ${saleId})
      AND NOT EXISTS (SELECT FROM reservations WHERE sale_id = ${saleId}) AS never_opened`;
  return row?.neverOpened ? 0 : undefined;
}

/**
 * Sends operations that Redis had applied and lost. One that it had refused must not succeed now, so it goes without
 * its changes; one that it refuses now, though it had applied it, is corrected in the ledger. False: still not there.
 */
async function applyAgain(
  servers: Servers,
  tx: Transaction,
  saleId: string,
  range: { above: number; below: number },
): Promise<boolean> {
  const lost = await tx<RecordedOperation[]>`
    SELECT operation, definition, changes, outcome FROM sale_operations
    WHERE sale_id = ${saleId} AND operation > ${range.above} AND operation < ${range.below}
    ORDER BY operation`;
  servers.log.warn({ saleId, ...range }, 'applying operations again that redis has lost');
  for (const operation of lost) {
    const changes = operation.outcome === 'insufficient_stock' ? [] : operation.changes;
    const reply = await send(servers, saleId, { ...operation, changes });
    if (reply.outcome === 'insufficient_stock') {
      await writeOutcome(servers, tx, saleId, operation, reply.outcome);
    } else if (reply.outcome !== 'applied') {
      return false;
    }
  }
  return true;
}

async function writeOutcome(
  servers: Servers,
  tx: Transaction,
  saleId: string,
  { operation, changes }: RecordedOperation,
  outcome: Outcome,
): Promise<void> {
  await tx`
    UPDATE sale_operations SET outcome = ${outcome}, applied_at = now()
    WHERE sale_id = ${saleId} AND operation = ${operation}`;
  if (changes.length > 0) {
    await tx`
      UPDATE stock_ledger SET outcome = ${outcome} WHERE sale_id = ${saleId} AND operation = ${operation}`;
    await writeCounts(servers, tx, saleId, operation);
  }
  if (outcome === 'insufficient_stock') {
    await tx`
      INSERT INTO audit_log (actor, action, sale_id, request_id, details)
      SELECT actor, 'insufficient_stock', sale_id, request_id, jsonb_build_object('operation', operation)
      FROM sale_operations WHERE sale_id = ${saleId} AND operation = ${operation}`;
  }
}

/** Keeps what was counted right after a change. Only the answer wants it, so not being able to read it is no fault. */
async function writeCounts(
  servers: Servers,
  tx: Transaction,
  saleId: string,
  operation: number,
): Promise<void> {
  const sale = await servers.shards.call(readSale, saleId, saleId).catch(() => undefined);
  if (sale?.outcome !== 'known') return;
  for (const { sku, loaded, remaining } of sale.state.stock) {
    await tx`
      UPDATE stock_ledger SET loaded_after = ${loaded}, remaining_after = ${remaining}
      WHERE sale_id = ${saleId} AND operation = ${operation} AND sku = ${sku}`;
  }
}
