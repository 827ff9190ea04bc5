/**
 * Transitions of a reservation by a merchant, each in one script call. They do not need PostgreSQL: a payment can be
 * confirmed while it is unavailable, and the event carries the actor. Only those of an archived sale are made in
 * PostgreSQL, by the same rules.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type FieldError, problemOf } from '../../api/problems.ts';
import { type ArchivedTransition, transitionArchived } from '../../archive/transition-archived.ts';
import { Fault, unreachable } from '../../domain/fault.ts';
import { newTag, parseReservationId, TRACEPARENT } from '../../domain/identifiers.ts';
import { paymentIn } from '../../domain/merchant-note.ts';
import {
  type Item,
  itemsBeyond,
  publicReservation,
  type Reservation,
  type ReservationStatus,
  statusAfter,
} from '../../domain/reservation.ts';
import { writeDetail } from '../../domain/transition-detail.ts';
import {
  type TransitionReply,
  type TransitionRequest,
  transition,
} from '../../lua/buy/transition.ts';
import type { Sql } from '../../postgres/connection.ts';
import { afterDueHolds } from '../../redis/due-holds.ts';
import type { Caller, Servers } from '../context.ts';
import { type Outcome, type Refusal, refuse, refuseFields, respond } from '../http/outcome.ts';

export const MERCHANT_TRANSITIONS = ['confirm', 'cancel', 'extend'] as const;
export type MerchantTransition = (typeof MERCHANT_TRANSITIONS)[number];

export interface MerchantRequest {
  reservationId: string;
  transition: MerchantTransition;
  paymentRef?: string | undefined;
  /** With `confirm`: also if the hold has expired. */
  reclaim?: boolean | undefined;
  reason?: string | undefined;
  /** For a cancellation. False: its units leave the sale. Undefined: true, or as it was cancelled before. */
  restock?: boolean | undefined;
  /** For a cancellation: these units only. */
  items?: readonly Item[] | undefined;
  /** For a cancellation that names items. */
  idempotencyKey?: string | undefined;
  caller: Caller;
  traceparent: string | undefined;
}

/** What one of the two servers is asked to do. */
type Wanted = TransitionRequest & ArchivedTransition;

/** For queries in PostgreSQL, for which a merchant's request must not wait. */
const LOOKUP_TIMEOUT_MS = 1_000;

export const UNKNOWN_RESERVATION = refuse('reservation_not_found', {
  detail: 'There is no reservation with that id.',
});
const NOTHING_CHANGED = 'Redis is unavailable; nothing was changed. Send the same request again.';
const CANCELLED_OTHERWISE: Partial<Record<ReservationStatus, string>> = {
  cancelled:
    'The reservation was cancelled before, with the other value of `restock`. Change the stock of the sale instead.',
};
const EXPIRED =
  'The hold has expired. Confirm with `reclaim: true` to get its units if they are still free.';
const NOTHING_CHANGED_NOW =
  'Nothing was changed: the reservation is changing now. Send the same request again.';
const PAYMENT_UNCERTAIN = refuse('unavailable', {
  detail:
    'Nothing was changed: the payment of this confirmation is in PostgreSQL, which does not respond or does not have it yet. Send the same request again.',
});
const SALE_UNCERTAIN = refuse('unavailable', {
  detail:
    'Nothing was changed: it is currently unknown whether the sale exists. Send the same request again.',
});

export async function transitionReservation(
  servers: Servers,
  request: MerchantRequest,
): Promise<Outcome> {
  const address = parseReservationId(request.reservationId);
  if (!address) return UNKNOWN_RESERVATION;
  const { caller, paymentRef, reason, items, idempotencyKey, traceparent } = request;
  const restock = request.transition === 'cancel' ? (request.restock ?? true) : undefined;
  const wantedTransition = request.reclaim ? 'reclaim' : request.transition;
  const { actor, requestId } = caller;
  const named = {
    ...(items && { items }),
    ...(idempotencyKey !== undefined && { idempotencyKey }),
  };
  const noted = { paymentRef, reason, restock, ...named };
  const wanted: Wanted = {
    address,
    saleId: address.saleId,
    actor,
    transition: wantedTransition,
    detail: writeDetail({ actor, transition: wantedTransition, ...noted }),
    payment: paymentRef ?? '',
    ...(request.restock !== undefined && { restock: request.restock }),
    ...named,
    requestId,
    traceparent: traceparent !== undefined && TRACEPARENT.test(traceparent) ? traceparent : '',
    tag: newTag(),
  };
  let reply = await decide(servers, wanted);
  if (!('refused' in reply) && (reply.outcome === 'unpaid' || reply.outcome === 'unrecorded')) {
    reply = await attachPayment(servers, wanted, reply);
  }
  if ('refused' in reply) return reply;
  // A hint, so that the hot paths show returned or reclaimed units immediately.
  if (reply.outcome === 'changed' && (request.transition === 'cancel' || request.reclaim))
    servers.shards.publishChanged(address.saleId).catch(() => undefined);
  return outcomeOf(reply, request);
}

/** Redis decides; PostgreSQL if the sale is archived. */
async function decide(servers: Servers, wanted: Wanted): Promise<Decided | Refusal> {
  let reply: Exclude<TransitionReply, { outcome: 'holds_due' }>;
  try {
    reply = await afterDueHolds(servers.shards, wanted.saleId, () =>
      servers.shards.call(transition, wanted.saleId, wanted),
    );
  } catch (error) {
    return refuseFault(servers, error);
  }
  switch (reply.outcome) {
    case 'recovering':
    case 'unknown_sale':
    case 'sale_ended':
      return decideWithoutRedis(servers, wanted, reply);
    default:
      return reply;
  }
}

/**
 * The reservation is confirmed, and Redis knows no payment of it. The payment of the request is added: the record lacks
 * it, and the shop can refund only what is recorded. If an earlier version made the confirmation, its payment is only in
 * PostgreSQL.
 */
async function attachPayment(
  servers: Servers,
  wanted: Wanted,
  { outcome, reservation }: Extract<Decided, { reservation: Reservation }>,
): Promise<Decided | Refusal> {
  if (outcome === 'unrecorded') {
    const recorded = await withTimeout(recordedPayment(servers.sql, reservation));
    if (recorded === undefined) return PAYMENT_UNCERTAIN;
    if (recorded === wanted.payment) return { outcome: 'repeated', reservation };
    if (recorded !== '') return { outcome: 'conflict', reservation, paymentRef: recorded };
  }
  const { actor, payment: paymentRef } = wanted;
  const detail = writeDetail({ actor, transition: 'attach', paymentRef });
  return decide(servers, { ...wanted, transition: 'attach', detail });
}

/** Empty: there is none. Undefined: PostgreSQL does not have the reservation in this version yet. */
async function recordedPayment(
  sql: Sql,
  { reservationId, version }: Reservation,
): Promise<string | undefined> {
  const history = await sql<{ version: number; detail: string }[]>`
    SELECT version, detail FROM reservation_events
    WHERE reservation_id = ${reservationId} ORDER BY version`;
  return (history.at(-1)?.version ?? 0) < version ? undefined : paymentIn(history);
}

/** What only one of the two servers can have replied. */
type Decided = Exclude<
  TransitionReply,
  { outcome: 'recovering' | 'unknown_sale' | 'sale_ended' | 'holds_due' }
>;

function outcomeOf(
  reply: Decided,
  { transition: requested, items = [] }: MerchantRequest,
): Outcome {
  switch (reply.outcome) {
    case 'changed':
      return respond(200, publicReservation(reply.reservation));
    case 'repeated':
      return respond(200, publicReservation(reply.reservation), { 'Idempotent-Replayed': 'true' });
    case 'forbidden':
      return refuse('invalid_transition', {
        ...(requested === 'cancel' &&
          items.length === 0 && { detail: CANCELLED_OTHERWISE[reply.reservation.status] }),
        ...(requested === 'confirm' &&
          reply.reservation.status === 'expired' && { detail: EXPIRED }),
        from: reply.reservation.status,
        to: statusAfter(requested),
      });
    case 'key_reused':
      return refuse('idempotency_key_reused');
    case 'beyond':
      return refuseFields(...itemsBeyond(reply.reservation.items, items).map(fieldErrorOf));
    case 'conflict':
      return refuse('payment_conflict', { paymentRef: reply.paymentRef });
    case 'unknown_reservation':
      return UNKNOWN_RESERVATION;
    case 'sold_out':
    case 'insufficient_stock':
      return refuse(reply.outcome, {
        detail: 'The hold has expired, and its units are not free any more. Refund the payment.',
        items: reply.items,
      });
    case 'limit_reached':
      return refuse('limit_reached', {
        detail:
          "The hold has expired, and its units would exceed the buyer's limit. Refund the payment.",
        limit: reply.limit,
        remainingAllowance: reply.remaining,
        ...(reply.sku !== '' && { sku: reply.sku }),
      });
    case 'unpaid':
    case 'unrecorded':
      // Another request has removed what this one was to be attached to.
      return refuse('unavailable', { detail: NOTHING_CHANGED_NOW });
    default:
      return unreachable(reply);
  }
}

function fieldErrorOf({ index, left }: { index: number; left: number | undefined }): FieldError {
  return left === undefined
    ? { field: `items.${index}.sku`, message: 'must be a SKU of the reservation' }
    : { field: `items.${index}.quantity`, message: `must be at most what is left: ${left}` };
}

function refuseFault({ log }: Servers, error: unknown): Refusal {
  if (!(error instanceof Fault)) throw error;
  switch (error.code) {
    case 'not_sent':
    case 'not_executed':
      log.warn({ reason: error.message }, 'transition not executed');
      return refuse(problemOf(error), { detail: NOTHING_CHANGED });
    case 'out_of_memory':
      log.warn({ reason: error.message }, 'transition not executed');
      return refuse(problemOf(error));
    case 'outcome_unknown':
      log.warn({ reason: error.message }, 'transition outcome unknown');
      return refuse(problemOf(error));
    default:
      throw error;
  }
}

/**
 * Redis does not have the sale open. If the sale is archived, PostgreSQL decides. Otherwise Redis may have lost its data,
 * and a 404 would make the merchant refund a buyer who has a reservation. PostgreSQL is queried for a short time.
 */
async function decideWithoutRedis(
  { sql, shards, log }: Servers,
  wanted: Wanted,
  { outcome }: { outcome: 'recovering' | 'unknown_sale' | 'sale_ended' },
): Promise<Decided | Refusal> {
  const { saleId } = wanted;
  const sale = await withTimeout(
    sql<{ isArchived: boolean }[]>`
      SELECT archived_at IS NOT NULL AS is_archived FROM sales WHERE sale_id = ${saleId}`.then(
      ([row]) => row ?? 'unknown_sale',
    ),
  );
  if (sale === undefined) return outcome === 'recovering' ? refuse('recovering') : SALE_UNCERTAIN;
  if (sale === 'unknown_sale') return UNKNOWN_RESERVATION;
  if (!sale.isArchived) {
    shards.publishWork(saleId).catch(() => undefined);
    return refuse('recovering');
  }
  try {
    const reply = await transitionArchived(sql, wanted);
    return reply.outcome === 'not_archived' ? refuse('recovering') : reply;
  } catch (error) {
    log.warn({ saleId, err: error }, 'transition in an archived sale failed');
    return refuse('unavailable');
  }
}

/** Undefined: PostgreSQL failed, or did not respond in time. */
function withTimeout<T>(query: Promise<T>): Promise<T | undefined> {
  return Promise.race([
    query.catch(() => undefined),
    sleep(LOOKUP_TIMEOUT_MS, undefined, { ref: false }),
  ]);
}
