/**
 * What a merchant does to a reservation, decided by its id alone, in one call to Redis. Nothing here waits for
 * PostgreSQL: payments are confirmed while it is away, and who confirmed them travels in the event.
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
  move: MerchantTransition;
  paymentRef?: string | undefined;
  reason?: string | undefined;
  caller: Caller;
  traceparent: string | undefined;
}

/** How long PostgreSQL may take to say whether there is such a sale. */
const LOOK_UP_TIMEOUT_MS = 1_000;

const UNKNOWN_RESERVATION = refuse('reservation_not_found', {
  detail: 'There is no reservation of that id.',
});
const UNKNOWN_OUTCOME = refuse('unavailable', {
  detail: 'The outcome is unknown. Send the same request again: it is never done twice.',
});
const NOTHING_DONE = refuse('unavailable', {
  detail: 'Redis is not reachable; nothing was done. Send the same request again.',
});
const NOBODY_KNOWS = refuse('unavailable', {
  detail: 'Nothing was done: nobody can say now whether there is such a sale. Send it again.',
});

export async function transitionReservation(
  servers: Servers,
  request: MerchantRequest,
): Promise<Outcome> {
  const address = parseReservationId(request.reservationId);
  if (!address) return UNKNOWN_RESERVATION;
  const { saleId } = address;
  const { move, caller, paymentRef, reason, traceparent } = request;
  let reply: TransitionReply;
  try {
    reply = await servers.shards.call(transition, saleId, {
      address,
      transition: move,
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
      // The hint only makes it prompt that front ends show the units.
      if (move === 'cancel') servers.shards.publishChanged(saleId).catch(() => undefined);
      return respond(200, publicReservation(reply.reservation));
    case 'repeated':
      return respond(200, publicReservation(reply.reservation), { 'Idempotent-Replayed': 'true' });
    case 'forbidden':
      return refuse('invalid_transition', {
        from: reply.reservation.status,
        to: statusAfter(move),
      });
    case 'unknown_reservation':
      return UNKNOWN_RESERVATION;
    case 'recovering':
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
    case 'out_of_memory':
      log.warn({ reason: error.message }, 'transition not made');
      return error.code === 'out_of_memory' ? refuse(problemOf(error)) : NOTHING_DONE;
    case 'outcome_unknown':
      log.warn({ reason: error.message }, 'transition outcome unknown');
      return UNKNOWN_OUTCOME;
    default:
      throw error;
  }
}

/**
 * A Redis that has lost its memory knows no sale either, and a merchant who is told "there is no such reservation"
 * would refund a buyer who has one. Only here PostgreSQL is asked, and not for long.
 */
async function refuseUnknownSale({ sql }: Servers, saleId: string): Promise<Refusal> {
  const known = await Promise.race([
    sql`SELECT FROM sales WHERE sale_id = ${saleId}`.then(
      (rows) => rows.length > 0,
      () => undefined,
    ),
    sleep(LOOK_UP_TIMEOUT_MS, undefined, { ref: false }),
  ]);
  if (known === undefined) return NOBODY_KNOWS;
  return known ? refuse('recovering') : UNKNOWN_RESERVATION;
}
