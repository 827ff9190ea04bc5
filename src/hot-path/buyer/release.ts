/** A buyer gives a reservation back: its units go to whoever waits, or on sale again, in the same step. */
import { newTag, parseReservationId } from '../../domain/identifiers.ts';
import { publicReservation, statusAfter } from '../../domain/reservation.ts';
import { transition } from '../../lua/buy/transition.ts';
import type { HotPathContext } from '../context.ts';
import {
  json,
  PROBLEM_RESPONSES,
  type PreparedResponse,
  problemResponse,
  replayed,
} from '../http/responses.ts';

export interface ReleaseRequest {
  reservationId: string;
  buyerId: string;
  requestId: string;
  traceparent: string;
}

/** Throws what Shards.call throws. */
export async function releaseResponse(
  { shards, views, soldOut }: Pick<HotPathContext, 'shards' | 'views' | 'soldOut'>,
  request: ReleaseRequest,
): Promise<PreparedResponse> {
  const address = parseReservationId(request.reservationId);
  if (!address) return PROBLEM_RESPONSES.reservation_not_found;
  const { saleId } = address;
  const reply = await shards.call(transition, saleId, {
    address,
    transition: 'give-back',
    buyerId: request.buyerId,
    detail: 'by the buyer',
    requestId: request.requestId,
    traceparent: request.traceparent,
    tag: newTag(),
  });
  switch (reply.outcome) {
    case 'changed':
      soldOut.changed(saleId);
      // The hint only makes it prompt that other front ends show the units.
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
