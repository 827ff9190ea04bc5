/** The stock ledger's rows of units that a cancellation took out of the sale. */
import type { ReservationEvent } from '../domain/reservation.ts';
import { cancelledItems } from '../domain/transition-detail.ts';
import type { Sql, Transaction } from './connection.ts';

/** Idempotent: an event can be written again. */
export async function withdrawFromLedger(
  sql: Sql | Transaction,
  event: number,
  reservation: ReservationEvent,
): Promise<void> {
  const { saleId, occurredAt } = reservation;
  const items = cancelledItems(reservation);
  await sql`
    INSERT INTO stock_ledger (sale_id, event, sku, delta, reason, outcome, created_at)
    SELECT ${saleId}, ${event}::bigint, sku, -quantity, 'cancelled without restock', 'applied', ${new Date(occurredAt)}
    FROM unnest(${items.map(({ sku }) => sku)}::text[],
      ${items.map(({ quantity }) => String(quantity))}::text[]::bigint[]) AS item(sku, quantity)
    ON CONFLICT (sale_id, event, sku) DO NOTHING`;
}
