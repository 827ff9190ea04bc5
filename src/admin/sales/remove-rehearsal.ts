/**
 * Removes a rehearsal from both servers, with everything that it left: reservations, history and audit entries too. A
 * rehearsal sold nothing to anyone, so nothing of it must be kept.
 */
import { isRehearsal, REHEARSE } from '../../domain/rehearsal.ts';
import { markKey, SALE_KEYS, saleKey } from '../../lua/keys.ts';
import { inTransaction } from '../../postgres/connection.ts';
import { lockHistory, lockOperations } from '../../postgres/sale-locks.ts';
import type { Caller, Servers } from '../context.ts';
import { type Refusal, refuse } from '../http/outcome.ts';
import { lockSale } from './sale-store.ts';

/** All tables with a sale's id, except those that `sales` removes from. A rehearsal has no messages and deliveries. */
const TABLES = [
  'reservation_events',
  'reservations',
  'checkpoints',
  'dead_letters',
  'stock_ledger',
  'sale_announcements',
  'sale_recoveries',
  'audit_log',
];

/**
 * Removes it in Redis first, within the transaction, as deleteSale does. After a crash in between, a persister puts the
 * sale back from PostgreSQL, and the next request removes it. Both locks keep persisters and admins from writing to it
 * meanwhile; a write that waited for them finds no sale.
 */
export async function removeRehearsal(
  servers: Servers,
  saleId: string,
  caller: Caller,
): Promise<Refusal | 'deleted'> {
  const result = await inTransaction(servers.sql, async (tx): Promise<Refusal | 'deleted'> => {
    await lockOperations(tx, saleId);
    await lockHistory(tx, saleId);
    if (!(await lockSale(tx, saleId))) return refuse('sale_not_found');
    if (!servers.shards.of(saleId).isPaired) return refuse('unavailable');
    await deleteKeys(servers, saleId);
    for (const table of TABLES) await tx`DELETE FROM ${tx(table)} WHERE sale_id = ${saleId}`;
    await tx`DELETE FROM sales WHERE sale_id = ${saleId}`;
    return 'deleted';
  });
  if (result !== 'deleted') return result;
  // A persister that looked at the sale just before may have made its stream again.
  await deleteKeys(servers, saleId).catch(() => undefined);
  await servers.shards.publishChanged(saleId).catch(() => undefined);
  servers.log.info({ saleId, actor: caller.actor }, 'rehearsal removed');
  return result;
}

/** A sale of an earlier version with such an id is no rehearsal. */
export async function isRemovable({ sql }: Servers, saleId: string): Promise<boolean> {
  if (!isRehearsal(saleId)) return false;
  const [first] = await sql`
    SELECT FROM sale_operations WHERE sale_id = ${saleId} AND operation = 1 AND action = ${REHEARSE}`;
  return first !== undefined;
}

async function deleteKeys({ shards }: Servers, saleId: string): Promise<void> {
  const keys = SALE_KEYS.map((key) => saleKey(saleId, key));
  await shards.of(saleId).client.del(...keys, markKey(saleId));
}
