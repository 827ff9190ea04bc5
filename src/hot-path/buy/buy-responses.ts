/** What a buyer is told of what Redis decided. */

import type { ProblemCode } from '../../api/problems.ts';
import { unreachable } from '../../domain/fault.ts';
import { parseReservationId, reservationIdOf } from '../../domain/identifiers.ts';
import { publicReservation } from '../../domain/reservation.ts';
import { parseRecord } from '../../domain/reservation-codec.ts';
import type { Reserved, ReserveOutcome } from '../../lua/buy/reserve.ts';
import {
  jsonText,
  PROBLEM_RESPONSES,
  type PreparedResponse,
  problemResponse,
  replayed,
} from '../http/responses.ts';
import type { SaleView } from '../sales/sale-views.ts';

export const UNKNOWN_SKU = problemResponse('invalid_request', {
  errors: [{ field: 'sku', message: 'this sale does not have that SKU' }],
});

export function notStarted(startsAt: number | null): PreparedResponse {
  return problemResponse('sale_not_started', {
    startsAt: startsAt === null ? null : new Date(startsAt).toISOString(),
  });
}

export function outcomeResponse(
  result: ReserveOutcome,
  buyerId: string,
  view: SaleView,
): PreparedResponse {
  const { definition } = view.state;
  switch (result.outcome) {
    case 'reserved':
      return jsonText(201, reservedText(result, definition, buyerId));
    case 'replayed':
      return replayed(publicReservation(parseRecord(result.record, definition, buyerId)));
    case 'sale_not_started':
      return notStarted(definition.startsAt);
    case 'unknown_sku':
      return UNKNOWN_SKU;
    case 'key_reused':
      return PROBLEM_RESPONSES.idempotency_key_reused;
    case 'unknown_sale':
      // It was known a moment ago: either a draft was deleted, or Redis forgot a sale.
      return definition.status === 'draft'
        ? PROBLEM_RESPONSES.sale_not_found
        : PROBLEM_RESPONSES.recovering;
    case 'sold_out':
    case 'insufficient_stock':
    case 'limit_reached':
    case 'sale_paused':
    case 'sale_ended':
    case 'overloaded':
    case 'recovering':
      return PROBLEM_RESPONSES[result.outcome satisfies ProblemCode];
    default:
      return unreachable(result);
  }
}

/** Stands for what differs: no field of a reservation can have such a character. */
const ANY = '\u0001';

/** The JSON of the last reservation made, cut where the next of the same batch differs. */
let template = { saleId: '', terms: '', tag: '', pieces: ['', '', '', ''] };

/** The JSON of a new reservation: those of one batch differ in position and buyer only, and are made from one text. */
function reservedText(
  reserved: Reserved,
  sale: { saleId: string; currency: string },
  buyerId: string,
): string {
  const { saleId } = sale;
  const { position, terms } = reserved;
  if (template.terms !== terms || template.saleId !== saleId) {
    const likeIt = publicReservation(parseRecord(reserved.record, sale, buyerId));
    const { tag } = parseReservationId(likeIt.reservationId)!;
    const text = JSON.stringify({ ...likeIt, reservationId: ANY, buyerId: ANY, position: ANY });
    template = { saleId, terms, tag, pieces: text.split(JSON.stringify(ANY)) };
  }
  const [untilId, untilBuyer, untilPosition, rest] = template.pieces;
  const id = reservationIdOf({ saleId, position, tag: template.tag });
  return `${untilId}"${id}"${untilBuyer}${JSON.stringify(buyerId)}${untilPosition}${position}${rest}`;
}
