/** What a buyer is told of what Redis decided. */
import { unreachable } from '../domain/fault.ts';
import { reservationIdOf } from '../domain/identifiers.ts';
import type { ProblemCode } from '../domain/problems.ts';
import { parseRecord, publicReservation } from '../domain/reservation.ts';
import type { ReserveOutcome } from '../lua/reserve.ts';
import { type Answer, jsonText, REFUSALS, refusal, replayed } from './answers.ts';
import type { SaleView } from './sale-views.ts';

export const UNKNOWN_SKU = refusal('invalid_request', {
  errors: [{ field: 'sku', message: 'this sale does not have that SKU' }],
});

export function notStarted(startsAt: number | null): Answer {
  return refusal('sale_not_started', {
    startsAt: startsAt === null ? null : new Date(startsAt).toISOString(),
  });
}

export function outcomeAnswer(result: ReserveOutcome, buyerId: string, view: SaleView): Answer {
  const { definition } = view.state;
  switch (result.outcome) {
    case 'reserved':
      return jsonText(201, reservedText(result.record, definition, buyerId));
    case 'replayed':
      return replayed(publicReservation(parseRecord(result.record, definition, buyerId)));
    case 'sale_not_started':
      return notStarted(definition.startsAt);
    case 'unknown_sku':
      return UNKNOWN_SKU;
    case 'key_reused':
      return REFUSALS.idempotency_key_reused;
    case 'unknown_sale':
      // It was known a moment ago: either a draft was deleted, or Redis forgot a sale.
      return definition.status === 'draft' ? REFUSALS.sale_not_found : REFUSALS.recovering;
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

/** Stands for what differs: no field of a reservation can have such a character. */
const ANY = '\u0001';

/** The JSON of the last reservation made, cut where the next of the same batch differs. */
let template = { saleId: '', middle: '', pieces: ['', '', '', ''] };

/**
 * The JSON of a new reservation. Those of one batch differ in position, buyer and key only, and are made from one text:
 * `1 R position tag … expiresAt key`, separated by TAB, of which only what follows the position is taken apart, once.
 */
function reservedText(
  record: string,
  sale: { saleId: string; currency: string },
  buyerId: string,
): string {
  const { saleId } = sale;
  const [, , position = '', tag = ''] = record.split('\t', 4);
  const middle = record.slice(`1\tR\t${position}`.length, record.lastIndexOf('\t'));
  if (template.middle !== middle || template.saleId !== saleId) {
    const likeIt = publicReservation(parseRecord(record, sale, buyerId));
    const text = JSON.stringify({ ...likeIt, reservationId: ANY, buyerId: ANY, position: ANY });
    template = { saleId, middle, pieces: text.split(JSON.stringify(ANY)) };
  }
  const [untilId, untilBuyer, untilPosition, rest] = template.pieces;
  const id = reservationIdOf({ saleId, position: Number(position), tag });
  return `${untilId}"${id}"${untilBuyer}${JSON.stringify(buyerId)}${untilPosition}${position}${rest}`;
}
