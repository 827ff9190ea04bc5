/**
 * Records sale operations. A sale operation is a numbered change of a sale: one transaction records it in PostgreSQL,
 * then apply-operations.ts applies it to Redis. After a crash or an outage of Redis it is pending, never half applied.
 */
import { createHash } from 'node:crypto';
import { customAlphabet } from 'nanoid';
import { isRehearsal, rehearsalId } from '../../domain/rehearsal.ts';
import type { StockChange } from '../../lua/operate/apply-operation.ts';
import { deleteDraft } from '../../lua/operate/delete-draft.ts';
import { inTransaction, type Transaction } from '../../postgres/connection.ts';
import { wasInRedis, writeDefinition } from '../../postgres/sale-definition.ts';
import { lockOperations } from '../../postgres/sale-locks.ts';
import type { Caller, Servers } from '../context.ts';
import { writeAudit } from '../http/audit.ts';
import { isRefusal, type Refusal, refuse, refuseFields } from '../http/outcome.ts';
import { applyPendingOperations } from './apply-operations.ts';
import {
  type Decision,
  decideDeletion,
  decideForArchived,
  type PlannedOperation,
  planCreation,
} from './decide-operation.ts';
import { isRemovable, removeRehearsal } from './remove-rehearsal.ts';
import {
  hasBeenOpen,
  momentOf,
  type RedisReading,
  readFromRedis,
  type SaleMoment,
} from './sale-moment.ts';
import type { NewSale } from './sale-schemas.ts';
import { insertSale, lockSale, type StoredSale } from './sale-store.ts';

export interface OperationRequest {
  saleId: string;
  caller: Caller;
  /** Without a key, a repeated request is a further change. */
  idempotencyKey?: string | undefined;
  /** The request's content: a repeated key must come with an equal request. */
  request: unknown;
}

/** `replayed`: an earlier request with this key recorded the operation. */
export interface RecordedOperation {
  saleId: string;
  operation: number;
  replayed: boolean;
}

type RecordOutcome = RecordedOperation | 'unchanged' | Refusal;

const PENDING_DETAIL =
  'The change is recorded and will be applied as soon as Redis is available. To get its result, send the same request again with the same Idempotency-Key; without a key, read the sale.';

const newIdSuffix = customAlphabet('abcdefghijklmnopqrstuvwxyz0123456789', 8);

/**
 * Creates a sale as a draft. An id is also taken by a sale that Redis has and PostgreSQL lacks, because an older backup
 * was restored. If Redis is unavailable, the draft is recorded; recover/recover.ts then finds the other sale.
 */
export async function createSale(
  servers: Servers,
  sale: NewSale,
  change: Omit<OperationRequest, 'saleId' | 'request'>,
): Promise<RecordedOperation | Refusal> {
  const saleId = sale.saleId ?? newSaleId(sale);
  const digest = digestOf('create', sale);
  const reading = await readFromRedis(servers, saleId);
  const recorded = await inTransaction(
    servers.sql,
    async (tx): Promise<RecordedOperation | Refusal> => {
      if (change.idempotencyKey !== undefined) {
        // Two concurrent creations with one key would both find none and then violate the unique index.
        await tx`SELECT pg_advisory_xact_lock(hashtextextended(${`creation ${change.idempotencyKey}`}, 0))`;
        const earlier = await findCreation(tx, change.idempotencyKey);
        if (earlier) return replayOf(earlier, digest);
      }
      const plan = planCreation(saleId, sale);
      const isTaken = hasBeenOpen(reading) || !(await insertSale(tx, plan.definition));
      if (isTaken) {
        return refuseFields({ field: 'saleId', message: 'must not be the id of another sale' });
      }
      await writeOperation(tx, 1, plan, { ...change, saleId }, digest);
      return { saleId, operation: 1, replayed: false };
    },
  );
  return isRefusal(recorded) ? recorded : settle(servers, recorded.saleId, recorded);
}

type Decide = (
  sale: StoredSale,
  moment: SaleMoment,
  tx: Transaction,
) => Decision | Promise<Decision>;

/**
 * Changes a sale by the operation that `decide` returns; the sale is locked meanwhile. Refuses with `unavailable` or
 * `recovering` when the operation is recorded but not applied yet, and with `invalid_transition` when it came too late.
 */
export async function changeSale(
  servers: Servers,
  change: OperationRequest,
  decide: Decide,
): Promise<RecordOutcome> {
  const reading = await readFromRedis(servers, change.saleId);
  const recorded = await recordChange(servers, change, decide, reading);
  if (isRefusal(recorded)) return recorded;
  const settled = await settle(servers, change.saleId, recorded);
  if (settled !== 'unchanged') return settled;
  // The sale may have had the requested state by a pending operation, which Redis has refused now.
  const readAgain = await readFromRedis(servers, change.saleId);
  const again = await recordChange(servers, change, decide, readAgain);
  return isRefusal(again) || again === 'unchanged' ? again : settle(servers, change.saleId, again);
}

function recordChange(
  servers: Servers,
  change: OperationRequest,
  decide: Decide,
  reading: RedisReading,
): Promise<RecordOutcome> {
  const digest = digestOf(change.saleId, change.request);
  return inTransaction(servers.sql, async (tx): Promise<RecordOutcome> => {
    const sale = await lockSale(tx, change.saleId);
    if (!sale) return refuse('sale_not_found');
    if (change.idempotencyKey !== undefined) {
      const earlier = await findByKey(tx, change.saleId, change.idempotencyKey);
      if (earlier) return replayOf(earlier, digest);
    }
    const decision = sale.archivedAt
      ? decideForArchived(change.request)
      : await decide(sale, momentOf(sale, reading), tx);
    if (decision === 'unchanged' || isRefusal(decision)) return decision;
    const operation = sale.lastOperation + 1;
    await writeOperation(tx, operation, decision, change, digest);
    return { saleId: change.saleId, operation, replayed: false };
  });
}

/**
 * Deletes a draft, or removes a rehearsal in any state. A sale that Redis never had is deleted in any status, because
 * nobody can have bought from it: what Redis has under its id is another sale, which stays (see recover/recover.ts).
 *
 * It is deleted in Redis first and within the transaction. A crash in between leaves a draft that Redis does not have;
 * its next operation rebuilds it. The other order could leave keys for a later sale with the same id to inherit.
 */
export async function deleteSale(
  servers: Servers,
  saleId: string,
  caller: Caller,
): Promise<Refusal | 'deleted'> {
  if (await isRemovable(servers, saleId)) return removeRehearsal(servers, saleId, caller);
  const reading = await readFromRedis(servers, saleId);
  const result = await inTransaction(servers.sql, async (tx): Promise<Refusal | 'deleted'> => {
    await lockOperations(tx, saleId);
    const sale = await lockSale(tx, saleId);
    if (!sale) return refuse('sale_not_found');
    const [row] = await tx<{ isKnown: boolean; timeline: number }[]>`
      SELECT ${wasInRedis(tx, saleId)} AS is_known, timeline FROM sales WHERE sale_id = ${saleId}`;
    const { isKnown, timeline } = row!;
    const refusal = isKnown ? decideDeletion(momentOf(sale, reading)) : undefined;
    if (refusal) return refusal;
    if (!servers.shards.of(saleId).isPaired) return refuse('unavailable');
    const reply = await servers.shards.call(deleteDraft, saleId, timeline);
    // PostgreSQL has an earlier state of this sale, from an older backup.
    if (reply === 'kept' || (reply === 'another' && isKnown)) return refuse('recovering');
    await tx`DELETE FROM sales WHERE sale_id = ${saleId}`;
    await writeAudit(tx, saleId, 'delete', caller, { name: sale.name });
    return 'deleted';
  });
  if (result === 'deleted') await servers.shards.publishChanged(saleId).catch(() => undefined);
  return result;
}

/** Applies the recorded operations. If that fails now, they stay pending and the client gets a 503. */
async function settle<T extends RecordedOperation | 'unchanged'>(
  servers: Servers,
  saleId: string,
  recorded: T,
): Promise<T | Refusal> {
  const state = await applyPendingOperations(servers, saleId);
  // Prompts a persister to recover the sale immediately.
  if (state === 'recovering') await servers.shards.publishWork(saleId).catch(() => undefined);
  if (recorded === 'unchanged') {
    return state === 'settled' ? recorded : refuse(state, { detail: PENDING_DETAIL });
  }
  const { operation } = recorded;
  const [row] = await servers.sql<{ outcome: string; endsAt: Date | null }[]>`
    SELECT outcome, ends_at FROM sale_operations JOIN sales USING (sale_id)
    WHERE sale_id = ${saleId} AND operation = ${operation}`;
  if (row?.outcome === 'sale_ended') return tooLate(row.endsAt);
  // If not all are applied, the pending operation may be a later one.
  if (state === 'settled' || (row && row.outcome !== 'pending')) return recorded;
  return refuse(state, { detail: PENDING_DETAIL, saleId, operation });
}

/** The operation reached Redis after the sale had ended. */
function tooLate(endsAt: Date | null): Refusal {
  const end = endsAt?.toISOString() ?? null;
  const ended = end === null ? 'the sale has ended' : `the sale ended at ${end}`;
  return refuse('invalid_transition', {
    detail: `The change came too late: ${ended}. Nothing was changed.`,
    from: 'ended',
    to: 'ended',
    endsAt: end,
  });
}

async function writeOperation(
  tx: Transaction,
  operation: number,
  plan: PlannedOperation,
  change: Omit<OperationRequest, 'request'>,
  digest: string,
): Promise<void> {
  const { saleId, caller, idempotencyKey } = change;
  const changes: StockChange[] = plan.stock.map(({ sku, delta }) => ({ sku, delta }));
  await writeDefinition(tx, plan.definition, operation);
  await tx`
    INSERT INTO sale_operations
      (sale_id, operation, action, definition, changes, actor, request_id, idempotency_key, request_digest)
    VALUES (${saleId}, ${operation}, ${plan.action}, ${tx.json(plan.definition as never)},
      ${tx.json(changes as never)}, ${caller.actor}, ${caller.requestId}, ${idempotencyKey ?? null}, ${digest})`;
  if (plan.stock.length > 0) {
    const rows = plan.stock.map((stock) => ({ sale_id: saleId, operation, ...stock }));
    await tx`INSERT INTO stock_ledger ${tx(rows, 'sale_id', 'operation', 'sku', 'delta', 'reason')}`;
  }
  await writeAudit(tx, saleId, plan.action, caller, {
    operation,
    definition: plan.definition,
    stock: plan.stock,
  });
}

interface EarlierOperation {
  saleId: string;
  operation: number;
  requestDigest: string;
}

async function findByKey(
  tx: Transaction,
  saleId: string,
  key: string,
): Promise<EarlierOperation | undefined> {
  const [row] = await tx<EarlierOperation[]>`
    SELECT sale_id, operation, request_digest FROM sale_operations
    WHERE sale_id = ${saleId} AND idempotency_key = ${key}`;
  return row;
}

async function findCreation(tx: Transaction, key: string): Promise<EarlierOperation | undefined> {
  const [row] = await tx<EarlierOperation[]>`
    SELECT sale_id, operation, request_digest FROM sale_operations
    WHERE idempotency_key = ${key} AND operation = 1`;
  return row;
}

function replayOf(earlier: EarlierOperation, digest: string): RecordedOperation | Refusal {
  if (earlier.requestDigest !== digest) {
    return refuse('idempotency_key_reused', {
      detail: 'This key belongs to another request. Send a new Idempotency-Key.',
    });
  }
  return { saleId: earlier.saleId, operation: earlier.operation, replayed: true };
}

/** Schemas fill in defaults and fix the order of fields, so equal requests have equal digests. */
function digestOf(subject: string, request: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify([subject, request]))
    .digest('hex');
}

function newSaleId({ name, rehearsal }: NewSale): string {
  if (rehearsal) return rehearsalId(newIdSuffix());
  const saleId = `${slugOf(name)}-${newIdSuffix()}`;
  return isRehearsal(saleId) ? `sale-${saleId}` : saleId;
}

function slugOf(name: string): string {
  const slug = name
    .normalize('NFKD')
    .replaceAll(/\p{M}/gu, '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 30)
    .replaceAll(/^-+|-+$/g, '');
  return slug || 'sale';
}
