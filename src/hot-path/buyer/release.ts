/** A buyer gives a reservation back: its units go to whoever waits, or on sale again, in the same step. */
import { newTag, parseReservationId } from '../../domain/identifiers.ts';
import { publicReservation, targetOf } from '../../domain/reservation.ts';
import { transition } from '../../lua/buy/transition.ts';
import type { HotPathParts } from '../context.ts';
import { type Answer, json, REFUSALS, refusal, replayed } from '../http/responses.ts';

export interface GiveBackRequest {
  reservationId: string;
  buyerId: string;
  requestId: string;
  traceparent: string;
}

/** Throws what Shards.call throws. */
export async function giveBackAnswer(
  { shards, views, soldOut }: Pick<HotPathParts, 'shards' | 'views' | 'soldOut'>,
  request: GiveBackRequest,
): Promise<Answer> {
  const address = parseReservationId(request.reservationId);
  if (!address) return REFUSALS.reservation_not_found;
  const { saleId } = address;
  const reply = await shards.call(transition, saleId, {
    address,
    move: 'give-back',
    buyerId: request.buyerId,
    detail: 'by the buyer',
    requestId: request.requestId,
    traceparent: request.traceparent,
    tag: newTag(),
  });
  switch (reply.outcome) {
    case 'moved':
      soldOut.changed(saleId);
      // The hint only makes it prompt that other front ends show the units.
      shards.publishChanged(saleId).catch(() => undefined);
      return json(200, publicReservation(reply.reservation));
    case 'repeated':
      return replayed(publicReservation(reply.reservation));
    case 'forbidden':
      return refusal('invalid_transition', {
        from: reply.reservation.status,
        to: targetOf('give-back'),
      });
    case 'recovering':
      return REFUSALS.recovering;
    default:
      return views.wasLaunched(saleId) && reply.outcome === 'unknown_sale'
        ? REFUSALS.recovering
        : REFUSALS.reservation_not_found;
  }
}
