/**
 * Archives a sale that has ended: PostgreSQL keeps all of it, Redis a marker.
 *
 *   open in Redis ──1 close──▶ closed ──2 commit archived_at──▶ archived ──3 mark──▶ archived, marker in Redis
 *
 * `verify` must pass before, because afterwards nothing can be restored from Redis. Closing makes sure that nothing is
 * decided between the comparison and the commit. After a crash behind step 1, a recovery opens the sale again, and it is
 * archived later; behind step 2, the next call of this function or the next persister completes step 3.
 */
import { nanoid } from 'nanoid';
import type { Fault } from '../domain/fault.ts';
import { effectiveStatus, type SaleDefinition, type SkuStock } from '../domain/sale.ts';
import { saleMessage } from '../domain/webhook.ts';
import { closeEndedSale } from '../lua/archive/close-ended-sale.ts';
import { markArchived } from '../lua/archive/mark-archived.ts';
import { readSale, type SaleState } from '../lua/read/read-sale.ts';
import { digestOf } from '../postgres/archive-digest.ts';
import { inTransaction, type Sql, type Transaction } from '../postgres/connection.ts';
import { enqueue, subscribersOf } from '../postgres/outbox.ts';
import { tryLockSale } from '../postgres/sale-locks.ts';
import type { Shards } from '../redis/shards.ts';
import { verifySale } from '../verify/verify.ts';

export interface ArchiveServers {
  sql: Sql;
  shards: Shards;
}

/** Why a sale cannot be archived now, with the text for operators. */
export const ARCHIVE_OBSTACLES = {
  not_ended: 'The sale has not ended.',
  holds_not_settled: 'The sale still has holds: each must be confirmed, cancelled or expired.',
  events_not_durable: 'PostgreSQL does not have all events of the sale yet.',
  operations_pending: 'Operations of the sale are recorded and not applied yet.',
  dead_letters_unresolved: 'The sale has unresolved dead letters: retry or discard them.',
  recovering: 'The sale is being recovered or written, or Redis does not have it.',
  verify_failed: 'The verification of the sale fails: see GET /admin/v1/sales/{saleId}/verify.',
} as const;
type ArchiveObstacle = keyof typeof ARCHIVE_OBSTACLES;

export type ArchiveOutcome =
  | { outcome: 'archived' }
  | { outcome: 'unknown_sale' }
  | { outcome: 'impossible'; reason: ArchiveObstacle };

/** A short one: a sale that has ended is at rest, and the caller tries again. */
const VERIFY_POLICY = { catchUpMs: 2_000, repeats: 1, pauseMs: 200 };

/** Safe to repeat. Throws the faults of Redis and the errors of PostgreSQL. */
export async function archiveSale(
  servers: ArchiveServers,
  saleId: string,
  caller: { actor: string; requestId: string },
): Promise<ArchiveOutcome> {
  const { sql, shards } = servers;
  shards.requirePaired(saleId);
  const [sale] = await sql<{ archivedAt: Date | null; archiveMarkedAt: Date | null }[]>`
    SELECT archived_at, archive_marked_at FROM sales WHERE sale_id = ${saleId}`;
  if (!sale) return { outcome: 'unknown_sale' };
  if (!sale.archivedAt) {
    const reason =
      (await obstacleBefore(servers, saleId)) ??
      (await inTransaction(sql, (transaction) =>
        closeAndCommit(transaction, shards, saleId, caller),
      ));
    if (reason) return { outcome: 'impossible', reason };
  }
  if (!sale.archiveMarkedAt) await writeMarker(servers, saleId);
  return { outcome: 'archived' };
}

/** Writes the marker of a sale that PostgreSQL has as archived. */
export async function writeMarker({ sql, shards }: ArchiveServers, saleId: string): Promise<void> {
  shards.requirePaired(saleId);
  await shards.call(markArchived, saleId);
  await sql`UPDATE sales SET archive_marked_at = now() WHERE sale_id = ${saleId}`;
  await shards.publishChanged(saleId).catch((_fault: Fault) => undefined);
}

/** Everything that can be said without closing the sale, in the order in which operators can do something about it. */
async function obstacleBefore(
  { sql, shards }: ArchiveServers,
  saleId: string,
): Promise<ArchiveObstacle | undefined> {
  const reply = await shards.call(readSale, saleId);
  if (reply.outcome === 'known') {
    const { definition, nowMs, stock } = reply.state;
    if (effectiveStatus(definition, nowMs) !== 'ended') return 'not_ended';
    if (stock.some(({ held }) => held > 0)) return 'holds_not_settled';
  }
  const recorded = await obstacleInPostgres(sql, saleId);
  if (recorded) return recorded;
  if (reply.outcome !== 'known') return 'recovering';
  const { checks } = await verifySale({ sql, shards }, saleId, VERIFY_POLICY);
  const failed = checks.filter(({ ok }) => !ok).map(({ name }) => name);
  if (failed.length === 0) return undefined;
  if (failed.includes('redis-knows-the-sale')) return 'recovering';
  return failed.includes('persister-has-caught-up') ? 'events_not_durable' : 'verify_failed';
}

async function obstacleInPostgres(
  sql: Sql | Transaction,
  saleId: string,
): Promise<ArchiveObstacle | undefined> {
  const [row] = await sql<
    { status: string; requested: boolean; pending: boolean; dead: boolean }[]
  >`
    SELECT status,
      EXISTS (SELECT FROM sale_recoveries r WHERE r.sale_id = sales.sale_id AND state = 'requested') AS requested,
      EXISTS (SELECT FROM sale_operations o WHERE o.sale_id = sales.sale_id AND outcome = 'pending') AS pending,
      EXISTS (SELECT FROM dead_letters d WHERE d.sale_id = sales.sale_id AND resolved_at IS NULL) AS dead
    FROM sales WHERE sale_id = ${saleId}`;
  if (!row || row.status === 'draft') return 'not_ended';
  if (row.pending) return 'operations_pending';
  if (row.dead) return 'dead_letters_unresolved';
  return row.requested ? 'recovering' : undefined;
}

/** Steps 1 and 2. The transaction commits nothing if it returns an obstacle. */
async function closeAndCommit(
  transaction: Transaction,
  shards: Shards,
  saleId: string,
  caller: { actor: string; requestId: string },
): Promise<ArchiveObstacle | undefined> {
  if (!(await tryLockSale(transaction, saleId))) return 'recovering';
  // Waits for operators' changes that are being recorded; later ones find the sale archived.
  const [sale] = await transaction<Progress[]>`
    SELECT timeline, archived_at,
      coalesce((SELECT event FROM checkpoints WHERE sale_id = ${saleId}), 0)::bigint AS events,
      coalesce((SELECT max(operation) FROM sale_operations
        WHERE sale_id = ${saleId} AND outcome <> 'pending'), 0)::bigint AS operation
    FROM sales WHERE sale_id = ${saleId} FOR UPDATE`;
  if (!sale) return 'recovering';
  if (sale.archivedAt) return undefined;
  const recorded = await obstacleInPostgres(transaction, saleId);
  if (recorded) return recorded;
  const read = await shards.call(readSale, saleId);
  if (read.outcome !== 'known') return 'recovering';
  const { timeline, events, operation } = sale;
  const closing = `archive-${nanoid()}`;
  const reply = await shards.call(closeEndedSale, saleId, { closing, timeline, events, operation });
  if (reply !== 'closed') return reply;

  await transaction`
    UPDATE sale_skus SET archived_confirmed = coalesce((
      SELECT sum(item.quantity) FROM reservations, jsonb_to_recordset(items) AS item(sku text, quantity bigint)
      WHERE reservations.sale_id = ${saleId} AND reservations.status = 'confirmed' AND item.sku = sale_skus.sku), 0)
    WHERE sale_id = ${saleId}`;
  await announceEnd(transaction, read.state);
  await transaction`
    INSERT INTO audit_log (actor, action, sale_id, request_id, details)
    VALUES (${caller.actor}, 'archive', ${saleId}, ${caller.requestId}, ${transaction.json({ events, operation })})`;
  // One statement sets both, see the table's check; the digest includes the time.
  await transaction`
    UPDATE sales SET archived_at = now(), archive_digest = 0, archive_blocked_by = NULL, archive_retry_at = NULL
    WHERE sale_id = ${saleId}`;
  const digest = await digestOf(transaction, saleId);
  await transaction`
    UPDATE sales SET archive_digest = ${digest}::text::numeric WHERE sale_id = ${saleId}`;
  return undefined;
}

interface Progress {
  timeline: number;
  archivedAt: Date | null;
  events: number;
  operation: number;
}

/** If no persister has announced the end yet: none looks at an archived sale. */
async function announceEnd(
  transaction: Transaction,
  { definition, stock, nowMs }: SaleState & { definition: SaleDefinition; stock: SkuStock[] },
): Promise<void> {
  const { saleId } = definition;
  await transaction`
    INSERT INTO sale_announcements (sale_id) VALUES (${saleId}) ON CONFLICT DO NOTHING`;
  const [announced] = await transaction<{ announcements: number }[]>`
    UPDATE sale_announcements SET phase = 'ended', announcements = announcements + 1, updated_at = now()
    WHERE sale_id = ${saleId} AND phase <> 'ended' RETURNING announcements`;
  if (!announced) return;
  const seen = { definition, stock, status: 'ended', atMs: nowMs } as const;
  const message = saleMessage({ type: 'sale.ended' }, announced.announcements, seen);
  await enqueue(transaction, [message], await subscribersOf(transaction, saleId));
}
