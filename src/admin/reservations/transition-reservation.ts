/**
 * Transitions of a reservation by a merchant, each in one script call. They do not need PostgreSQL: a payment can be
 * confirmed while it is unavailable, and the event carries the actor.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { problemOf } from '../../api/problems.ts';
import { Fault, unreachable } from '../../domain/fault.ts';
import { newTag, parseReservationId, TRACEPARENT } from '../../domain/identifiers.ts';
import { publicReservation, statusAfter } from '../../domain/reservation.ts';
import { writeDetail } from '../../domain/transition-detail.ts';
import { type TransitionReply, transition } from '../../lua/buy/transition.ts';
import type { Caller, Servers } from '../context.ts';
import { type Outcome, type Refusal, refuse, respond } from '../http/outcome.ts';

export const MERCHANT_TRANSITIONS = ['confirm', 'cancel', 'extend'] as const;
export type MerchantTransition = (typeof MERCHANT_TRANSITIONS)[number];

export interface MerchantRequest {
  reservationId: string;
  transition: MerchantTransition;
  paymentRef?: string | undefined;
  reason?: string | undefined;
  caller: Caller;
  traceparent: string | undefined;
}

/** For the query whether the sale exists. */
const LOOKUP_TIMEOUT_MS = 1_000;

export const UNKNOWN_RESERVATION = refuse('reservation_not_found', {
  detail: 'There is no reservation with that id.',
});
const NOTHING_CHANGED = 'Redis is unavailable; nothing was changed. Send the same request again.';
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
  const { saleId } = address;
  const { caller, paymentRef, reason, traceparent } = request;
  let reply: TransitionReply;
  try {
    reply = await servers.shards.call(transition, saleId, {
      address,
      transition: request.transition,
      detail: writeDetail({ actor: caller.actor, paymentRef, reason }),
      requestId: caller.requestId,
      traceparent: traceparent !== undefined && TRACEPARENT.test(traceparent) ? traceparent : '',
      tag: newTag(),
    });
  } catch (error) {
    return refuseFault(servers, error);
  }
  switch (reply.outcome) {
    case 'changed':
      // A hint, so that the hot paths show the returned units immediately.
      if (request.transition === 'cancel')
        servers.shards.publishChanged(saleId).catch(() => undefined);
      return respond(200, publicReservation(reply.reservation));
    case 'repeated':
      return respond(200, publicReservation(reply.reservation), { 'Idempotent-Replayed': 'true' });
    case 'forbidden':
      return refuse('invalid_transition', {
        from: reply.reservation.status,
        to: statusAfter(request.transition),
      });
    case 'unknown_reservation':
      return UNKNOWN_RESERVATION;
    case 'recovering':
      servers.shards.publishWork(saleId).catch(() => undefined);
      return refuse('recovering');
    case 'unknown_sale':
      return refuseUnknownSale(servers, saleId);
    default:
      return unreachable(reply);
  }
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
 * Redis may have lost its data. A 404 would then make the merchant refund a buyer who has a reservation, so PostgreSQL
 * is queried, for a short time.
 */
async function refuseUnknownSale({ sql, shards }: Servers, saleId: string): Promise<Refusal> {
  const known = await Promise.race([
    sql`SELECT FROM sales WHERE sale_id = ${saleId}`.then(
      (rows) => rows.length > 0,
      () => undefined,
    ),
    sleep(LOOKUP_TIMEOUT_MS, undefined, { ref: false }),
  ]);
  if (known === undefined) return SALE_UNCERTAIN;
  if (!known) return UNKNOWN_RESERVATION;
  shards.publishWork(saleId).catch(() => undefined);
  return refuse('recovering');
}
