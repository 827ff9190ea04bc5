/**
 * Transitions of a reservation by a merchant, each in one script call. They do not need PostgreSQL: a payment can be
 * confirmed while it is unavailable, and the event carries the actor. Only those of an archived sale are made in
 * PostgreSQL, by the same rules.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { problemOf } from '../../api/problems.ts';
import { type ArchivedTransition, transitionArchived } from '../../archive/transition-archived.ts';
import { Fault, unreachable } from '../../domain/fault.ts';
import { newTag, parseReservationId, TRACEPARENT } from '../../domain/identifiers.ts';
import { publicReservation, statusAfter } from '../../domain/reservation.ts';
import { writeDetail } from '../../domain/transition-detail.ts';
import {
  type TransitionReply,
  type TransitionRequest,
  transition,
} from '../../lua/buy/transition.ts';
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
  const wanted: TransitionRequest = {
    address,
    transition: request.transition,
    detail: writeDetail({ actor: caller.actor, paymentRef, reason }),
    requestId: caller.requestId,
    traceparent: traceparent !== undefined && TRACEPARENT.test(traceparent) ? traceparent : '',
    tag: newTag(),
  };
  let reply: TransitionReply;
  try {
    reply = await servers.shards.call(transition, saleId, wanted);
  } catch (error) {
    return refuseFault(servers, error);
  }
  switch (reply.outcome) {
    case 'recovering':
    case 'unknown_sale':
    case 'sale_ended':
      return transitionWithoutRedis(
        servers,
        saleId,
        { ...wanted, saleId, actor: caller.actor },
        reply,
      );
    default:
      // A hint, so that the hot paths show the returned units immediately.
      if (reply.outcome === 'changed' && request.transition === 'cancel')
        servers.shards.publishChanged(saleId).catch(() => undefined);
      return outcomeOf(reply, request.transition);
  }
}

/** What only one of the two servers can have replied. */
type Decided = Exclude<TransitionReply, { outcome: 'recovering' | 'unknown_sale' | 'sale_ended' }>;

function outcomeOf(reply: Decided, requested: MerchantTransition): Outcome {
  switch (reply.outcome) {
    case 'changed':
      return respond(200, publicReservation(reply.reservation));
    case 'repeated':
      return respond(200, publicReservation(reply.reservation), { 'Idempotent-Replayed': 'true' });
    case 'forbidden':
      return refuse('invalid_transition', {
        from: reply.reservation.status,
        to: statusAfter(requested),
      });
    case 'unknown_reservation':
      return UNKNOWN_RESERVATION;
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
 * Redis does not have the sale open. If the sale is archived, PostgreSQL decides. Otherwise Redis may have lost its data,
 * and a 404 would make the merchant refund a buyer who has a reservation. PostgreSQL is queried for a short time.
 */
async function transitionWithoutRedis(
  { sql, shards, log }: Servers,
  saleId: string,
  wanted: ArchivedTransition,
  { outcome }: { outcome: 'recovering' | 'unknown_sale' | 'sale_ended' },
): Promise<Outcome> {
  const sale = await Promise.race([
    sql<{ isArchived: boolean }[]>`
      SELECT archived_at IS NOT NULL AS is_archived FROM sales WHERE sale_id = ${saleId}`.then(
      ([row]) => row ?? 'unknown_sale',
      () => undefined,
    ),
    sleep(LOOKUP_TIMEOUT_MS, undefined, { ref: false }),
  ]);
  if (sale === undefined) return outcome === 'recovering' ? refuse('recovering') : SALE_UNCERTAIN;
  if (sale === 'unknown_sale') return UNKNOWN_RESERVATION;
  if (!sale.isArchived) {
    shards.publishWork(saleId).catch(() => undefined);
    return refuse('recovering');
  }
  try {
    const reply = await transitionArchived(sql, wanted);
    if (reply.outcome !== 'not_archived')
      return outcomeOf(reply, wanted.transition as MerchantTransition);
  } catch (error) {
    log.warn({ saleId, err: error }, 'transition in an archived sale failed');
    return refuse('unavailable');
  }
  return refuse('recovering');
}
