/** A buyer releases a reservation. Its units go to the waitlist, or on sale again, in the same step. */
import { newTag, parseReservationId } from '../../domain/identifiers.ts';
import { publicReservation, statusAfter } from '../../domain/reservation.ts';
import { transition } from '../../lua/buy/transition.ts';
import type { Shards } from '../../redis/shards.ts';
import type { HashedName } from '../admission/hashed-name.ts';
import type { HttpExchange } from '../http/http-exchange.ts';
import {
  json,
  PROBLEM_RESPONSES,
  type PreparedResponse,
  problemResponse,
  replayed,
} from '../http/responses.ts';
import type { SaleViews } from '../sales/sale-views.ts';
import type { SoldOut } from '../sales/sold-out.ts';
import type { BuyerCalls } from './buyer-calls.ts';

interface ReleaseContext {
  shards: Shards;
  views: SaleViews;
  soldOut: SoldOut;
  buyerCalls: BuyerCalls;
}

export function releaseReservation(
  exchange: HttpExchange,
  reservationId: string,
  { name }: HashedName,
  context: ReleaseContext,
): void {
  context.buyerCalls.run(exchange, () => releaseResponse(exchange, reservationId, name, context));
}

async function releaseResponse(
  { requestId, traceparent }: HttpExchange,
  reservationId: string,
  buyerId: string,
  { shards, views, soldOut }: ReleaseContext,
): Promise<PreparedResponse> {
  const address = parseReservationId(reservationId);
  if (!address) return PROBLEM_RESPONSES.reservation_not_found;
  const { saleId } = address;
  const reply = await shards.call(transition, saleId, {
    address,
    transition: 'give-back',
    buyerId,
    detail: 'by the buyer',
    requestId,
    traceparent,
    tag: newTag(),
  });
  switch (reply.outcome) {
    case 'changed':
      soldOut.invalidate(saleId);
      // Only a hint: it makes other hot paths show the units sooner.
      shards.publishChanged(saleId).catch(() => undefined);
      return json(200, publicReservation(reply.reservation));
    case 'repeated':
      return replayed(publicReservation(reply.reservation));
    case 'forbidden':
      return problemResponse('invalid_transition', {
        from: reply.reservation.status,
        to: statusAfter('give-back'),
      });
    case 'recovering':
      return PROBLEM_RESPONSES.recovering;
    default:
      return views.wasLaunched(saleId) && reply.outcome === 'unknown_sale'
        ? PROBLEM_RESPONSES.recovering
        : PROBLEM_RESPONSES.reservation_not_found;
  }
}
