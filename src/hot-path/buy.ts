/**
 * Buying: from what a request says to what its buyer is told. Gates first, from memory; then the line of the sale.
 */
import type { Logger } from 'pino';
import { type Fault, unreachable } from '../domain/fault.ts';
import { VISIBLE_ASCII_64 } from '../domain/identifiers.ts';
import type { ProblemCode } from '../domain/problems.ts';
import { parseRecord, publicReservation } from '../domain/reservation.ts';
import type { ReserveOutcome } from '../lua/reserve.ts';
import { isOutOfMemory } from '../redis/out-of-memory.ts';
import { type Answer, json, REFUSALS, refusal, replayed } from './answers.ts';
import type { Batcher } from './batcher.ts';
import type { BuyBodies } from './buy-body.ts';
import { onlySkuOf, redisNowMs, type SaleView, VIEW_AGE_MS_MAX } from './sale-views.ts';

/**
 * A buyer is refused for being early only by a fresh view and by more than the clocks may differ; nearer to the
 * start Redis decides.
 */
const EARLY_MS_MIN = 1_000;

const UNKNOWN_SKU = refusal('invalid_request', {
  errors: [{ field: 'sku', message: 'this sale does not have that SKU' }],
});

export interface BuyRequest {
  saleId: string;
  buyerId: string;
  idempotencyKey: string;
  requestId: string;
  traceparent: string;
  isAborted: () => boolean;
}

/** What the request asks for in this sale, or why it can't be asked. */
export function itemsOf(
  request: { body: Buffer; idempotencyKey: string },
  view: SaleView,
  bodies: BuyBodies,
): { items: string } | { refused: Answer } {
  if (request.idempotencyKey !== '' && !VISIBLE_ASCII_64.test(request.idempotencyKey)) {
    return {
      refused: refusal('invalid_request', {
        errors: [{ field: 'Idempotency-Key', message: 'wants 1 to 64 visible ASCII characters' }],
      }),
    };
  }
  const parsed = bodies.parse(request.body);
  if ('errors' in parsed) return { refused: refusal('invalid_request', { errors: parsed.errors }) };
  if (parsed.items !== '') {
    const isUnknown = isFresh(view) && namesUnknownSku(parsed.items, view);
    return isUnknown ? { refused: UNKNOWN_SKU } : { items: parsed.items };
  }
  const sku = onlySkuOf(view.state.definition);
  if (sku !== undefined) return { items: `${sku}*1` };
  return {
    refused: refusal('invalid_request', {
      errors: [{ field: 'sku', message: 'this sale has several SKUs; say which' }],
    }),
  };
}

/** A refusal that needs no call to Redis, because no earlier answer to this buyer could contradict it. */
export function gate(view: SaleView): Answer | undefined {
  const { status, startsAt } = view.state.definition;
  if (
    status !== 'draft' &&
    startsAt !== null &&
    isFresh(view) &&
    redisNowMs(view) < startsAt - EARLY_MS_MIN
  ) {
    return notStarted(startsAt);
  }
  return undefined;
}

/** Puts the buyer in line; `answer` is called once, with the outcome's name for the metrics. */
export function standInLine(
  request: BuyRequest,
  items: string,
  view: SaleView,
  batcher: Batcher,
  log: Logger,
  answer: (answer: Answer, outcome: string) => void,
): void {
  const isTaken = batcher.submit({
    buyerId: request.buyerId,
    idempotencyKey: request.idempotencyKey,
    items,
    requestId: request.requestId,
    traceparent: request.traceparent,
    inLineSince: performance.now(),
    isAborted: request.isAborted,
    settle: (outcome) => {
      if (outcome instanceof Error) {
        log.debug({ requestId: request.requestId, saleId: request.saleId }, outcome.code);
        answer(faultAnswer(outcome), outcome.code);
      } else {
        answer(outcomeAnswer(outcome, request, view, log), outcome.outcome);
      }
    },
  });
  if (!isTaken) answer(REFUSALS.overloaded, 'overloaded');
}

/** A Redis that can't be asked: what is known of the outcome decides the words, never "sold out". */
export function faultAnswer(fault: Fault): Answer {
  return isOutOfMemory(fault) || fault.code === 'busy' ? REFUSALS.overloaded : REFUSALS.unavailable;
}

function outcomeAnswer(
  result: ReserveOutcome,
  request: BuyRequest,
  view: SaleView,
  log: Logger,
): Answer {
  const { saleId, buyerId, requestId } = request;
  switch (result.outcome) {
    case 'reserved':
    case 'replayed': {
      const reservation = publicReservation(
        parseRecord(result.record, { saleId, currency: view.state.definition.currency }, buyerId),
      );
      log.info({ requestId, reservationId: reservation.reservationId, buyerId }, result.outcome);
      return result.outcome === 'reserved' ? json(201, reservation) : replayed(reservation);
    }
    case 'sale_not_started':
      return notStarted(view.state.definition.startsAt);
    case 'unknown_sku':
      return UNKNOWN_SKU;
    case 'key_reused':
      return REFUSALS.idempotency_key_reused;
    case 'unknown_sale':
      // It was known a moment ago: either a draft was deleted, or Redis forgot a sale.
      return view.state.definition.status === 'draft'
        ? REFUSALS.sale_not_found
        : REFUSALS.recovering;
    case 'sold_out':
    case 'insufficient_stock':
    case 'limit_reached':
    case 'sale_paused':
    case 'sale_ended':
    case 'overloaded':
    case 'recovering':
      return REFUSALS[result.outcome satisfies ProblemCode];
    default:
      return unreachable(result);
  }
}

function isFresh(view: SaleView): boolean {
  return performance.now() - view.readAt <= VIEW_AGE_MS_MAX;
}

function namesUnknownSku(items: string, view: SaleView): boolean {
  return items
    .split(',')
    .some((item) => !view.state.definition.skus.some(({ sku }) => item.startsWith(`${sku}*`)));
}

export function notStarted(startsAt: number | null): Answer {
  return refusal('sale_not_started', {
    startsAt: startsAt === null ? null : new Date(startsAt).toISOString(),
  });
}
