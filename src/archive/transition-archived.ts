/**
 * Transitions of reservations in an archived sale: the same table and the same results as in Redis (transition.lua), in
 * one transaction of PostgreSQL. An archived sale has no holds, so in practice a merchant refunds confirmed units.
 */
import { LIVING_RESERVATIONS_MAX, reservationIdOf } from '../domain/identifiers.ts';
import { earlierPart, noteOf, paymentIn } from '../domain/merchant-note.ts';
import {
  itemsBeyond,
  type PricedItem,
  RESERVATION_TRANSITIONS,
  type Reservation,
  type ReservationEvent,
  type ReservationStatus,
  STATUS_OF_LETTER,
  withoutPart,
} from '../domain/reservation.ts';
import { letterOf } from '../domain/reservation-codec.ts';
import { isWithdrawal } from '../domain/transition-detail.ts';
import {
  shortageOf,
  type TransitionDecision,
  type TransitionRequest,
} from '../lua/buy/transition.ts';
import { changeWithDigest } from '../postgres/archive-digest.ts';
import { readArchivedStock } from '../postgres/archived-stock.ts';
import { inTransaction, type Sql, type Transaction } from '../postgres/connection.ts';
import { enqueueReservations, subscribersOf } from '../postgres/outbox.ts';
import { lockHistory } from '../postgres/sale-locks.ts';
import { withdrawFromLedger } from '../postgres/withdrawals.ts';

export interface ArchivedTransition extends Omit<TransitionRequest, 'tag' | 'buyerId'> {
  saleId: string;
  /** For the audit log. */
  actor: string;
}

/** `not_archived`: Redis decides, or there is no such sale. */
export type ArchivedReply =
  | TransitionDecision
  | { outcome: 'unknown_reservation' }
  | { outcome: 'not_archived' };

/** Throws PostgreSQL's errors. */
export async function transitionArchived(
  sql: Sql,
  request: ArchivedTransition,
): Promise<ArchivedReply> {
  return inTransaction<ArchivedReply>(sql, async (transaction) => {
    const { saleId, address } = request;
    await lockHistory(transaction, saleId);
    const [sale] = await transaction`
      SELECT FROM sales WHERE sale_id = ${saleId} AND archived_at IS NOT NULL`;
    if (!sale) return { outcome: 'not_archived' };
    const found = await findReservation(transaction, reservationIdOf({ ...address, saleId }));
    if (!found) return { outcome: 'unknown_reservation' };
    const { from, to } = RESERVATION_TRANSITIONS[request.transition];
    // Nothing is held, so nothing is extended.
    const letter = letterOf(found.status, false);
    const attaches = request.transition === 'attach';
    const { items, restock, idempotencyKey = '' } = request;
    if (items || idempotencyKey !== '') {
      const note = noteOf(await historyOf(transaction, found)) ?? '';
      const wanted = { items, restock: restock !== false, idempotencyKey };
      const outcome = earlierPart(note, wanted);
      if (outcome) return { outcome, reservation: found };
    }
    if (letter === to && !items) {
      if (restock !== undefined && restock === (await isWithdrawn(transaction, found))) {
        return { outcome: 'forbidden', reservation: found };
      }
      const payment = request.payment ?? '';
      const recorded = payment === '' ? '' : await paymentOf(transaction, found);
      if (payment === recorded) return { outcome: 'repeated', reservation: found };
      if (recorded !== '') return { outcome: 'conflict', reservation: found, paymentRef: recorded };
      if (!attaches) return { outcome: 'unpaid', reservation: found };
    } else if (!from.includes(letter)) {
      return { outcome: 'forbidden', reservation: found };
    } else if (letter === 'E') {
      const obstacle = await obstacleToReclaim(transaction, found);
      if (obstacle) return obstacle;
    }
    if (items && itemsBeyond(found.items, items).length > 0) {
      return { outcome: 'beyond', reservation: found };
    }
    const kept = items && withoutPart(found, items);
    const status = kept ? found.status : STATUS_OF_LETTER[to]!;
    const changed = { ...found, ...kept, status, version: found.version + 1 };
    const { reservationId } = found;
    await changeWithDigest(transaction, saleId, [reservationId], () =>
      write(transaction, found, changed, request),
    );
    return { outcome: 'changed', reservation: changed };
  });
}

/** The units that were left when the sale was archived are still the sale's. */
async function obstacleToReclaim(
  transaction: Transaction,
  reservation: Reservation,
): Promise<TransitionDecision | undefined> {
  const { saleId, buyerId, items } = reservation;
  const [terms] = await transaction<{ limit: number; units: number; living: number }[]>`
    SELECT per_buyer_limit AS limit, coalesce(sum(item.quantity), 0)::bigint AS units,
      count(DISTINCT reservation_id) AS living
    FROM sales LEFT JOIN reservations r ON r.sale_id = sales.sale_id AND buyer_id = ${buyerId}
      AND r.status IN ('reserved', 'confirmed')
    LEFT JOIN jsonb_to_recordset(r.items) AS item(quantity bigint) ON true
    WHERE sales.sale_id = ${saleId} GROUP BY per_buyer_limit`;
  const { limit, units, living } = terms!;
  const remaining = living < LIVING_RESERVATIONS_MAX ? Math.max(0, limit - units) : 0;
  const ofSkus = await transaction<{ sku: string; limit: number; units: number }[]>`
    SELECT sku, per_buyer_limit AS limit, coalesce((
      SELECT sum(item.quantity) FROM reservations, jsonb_to_recordset(items) AS item(sku text, quantity bigint)
      WHERE sale_id = ${saleId} AND buyer_id = ${buyerId} AND status IN ('reserved', 'confirmed')
        AND item.sku = sale_skus.sku), 0)::bigint AS units
    FROM sale_skus WHERE sale_id = ${saleId} AND per_buyer_limit IS NOT NULL`;
  for (const own of ofSkus) {
    const left = Math.max(0, own.limit - own.units);
    const item = items.find(({ sku }) => sku === own.sku);
    if (!item || item.quantity <= left) continue;
    const allowed = Math.min(left, remaining);
    return {
      outcome: 'limit_reached',
      reservation,
      limit: own.limit,
      remaining: allowed,
      sku: own.sku,
    };
  }
  const wanted = items.reduce((sum, { quantity }) => sum + quantity, 0);
  if (wanted > remaining)
    return { outcome: 'limit_reached', reservation, limit, remaining, sku: '' };
  const stock = (await readArchivedStock(transaction, [saleId])).get(saleId)!;
  const shortage = shortageOf(
    items,
    items.map(({ sku }) => stock.find((each) => each.sku === sku)?.remaining ?? 0),
  );
  return shortage && { ...shortage, reservation };
}

async function isWithdrawn(transaction: Transaction, reservation: Reservation): Promise<boolean> {
  const history = await historyOf(transaction, reservation);
  return history.some(({ status, detail }) => status === 'cancelled' && isWithdrawal(detail));
}

async function paymentOf(transaction: Transaction, reservation: Reservation): Promise<string> {
  return paymentIn(await historyOf(transaction, reservation));
}

function historyOf(
  transaction: Transaction,
  { reservationId }: Reservation,
): Promise<{ status: ReservationStatus; detail: string }[]> {
  return transaction<{ status: ReservationStatus; detail: string }[]>`
    SELECT status, detail FROM reservation_events WHERE reservation_id = ${reservationId} ORDER BY version`;
}

/** The row, its history, the units, the deliveries, the checkpoint and the audit entry. */
async function write(
  transaction: Transaction,
  before: Reservation,
  after: Reservation,
  { actor, transition, detail, requestId, traceparent }: ArchivedTransition,
): Promise<void> {
  const { saleId, reservationId, status, version } = after;
  const [row] = await transaction<{ event: number; occurredAt: Date }[]>`
    UPDATE checkpoints SET event = event + 1, updated_at = now() WHERE sale_id = ${saleId}
    RETURNING event, date_trunc('milliseconds', clock_timestamp()) AS occurred_at`;
  const { event, occurredAt } = row!;
  await transaction`
    UPDATE reservations SET status = ${status}, version = ${version}, updated_at = ${occurredAt},
      items = ${transaction.json(after.items.map((item) => ({ ...item })))}, total = ${after.total}
    WHERE reservation_id = ${reservationId}`;
  await transaction`
    INSERT INTO reservation_events
      (reservation_id, version, sale_id, event, status, occurred_at, detail, request_id, traceparent)
    VALUES (${reservationId}, ${version}, ${saleId}, ${event}, ${status}, ${occurredAt}, ${detail}, ${requestId},
      ${traceparent})`;
  const confirmed = (reservation: Reservation, index: number) =>
    reservation.status === 'confirmed' ? reservation.items[index]!.quantity : 0;
  for (const [index, { sku }] of after.items.entries()) {
    const units = confirmed(after, index) - confirmed(before, index);
    await transaction`
      UPDATE sale_skus SET archived_confirmed = archived_confirmed + ${units}
      WHERE sale_id = ${saleId} AND sku = ${sku}`;
  }
  const occurred = { occurredAt: occurredAt.getTime(), detail, requestId, traceparent };
  const reservation: ReservationEvent = { ...after, ...occurred };
  if (isWithdrawal(detail)) await withdrawFromLedger(transaction, event, reservation);
  const subscribers = await subscribersOf(transaction, saleId);
  await enqueueReservations(transaction, [{ reservation }], subscribers);
  await transaction`
    INSERT INTO audit_log (actor, action, sale_id, request_id, details)
    VALUES (${actor}, ${`${transition}-archived`}, ${saleId}, ${requestId},
      ${transaction.json({ reservationId, event })})`;
}

interface Row extends Omit<Reservation, 'reservedAt' | 'expiresAt'> {
  status: ReservationStatus;
  items: PricedItem[];
  reservedAt: Date;
  expiresAt: Date;
}

async function findReservation(
  transaction: Transaction,
  reservationId: string,
): Promise<Reservation | undefined> {
  const [row] = await transaction<Row[]>`
    SELECT reservation_id, sale_id, buyer_id, status, items, total, currency, position, version, idempotency_key,
      reserved_at, expires_at
    FROM reservations WHERE reservation_id = ${reservationId} FOR UPDATE`;
  if (!row) return undefined;
  return { ...row, reservedAt: row.reservedAt.getTime(), expiresAt: row.expiresAt.getTime() };
}
