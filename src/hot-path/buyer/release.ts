/**
 * A buyer releases a reservation. Its units go to the waitlist, or on sale again, in the same step. The path of the API
 * is `/cancel`; the transition is stored as `give-back`.
 */

import { Fault } from '../../domain/fault.ts';
import { newTag, parseReservationId } from '../../domain/identifiers.ts';
import { publicReservation, statusAfter } from '../../domain/reservation.ts';
import { transition } from '../../lua/buy/transition.ts';
import { afterDueHolds } from '../../redis/due-holds.ts';
import type { BuyerHandler } from '../admission/admission.ts';
import { json, PROBLEM_RESPONSES, problemResponse, replayed } from '../http/responses.ts';
import type { SoldOut } from '../sales/sold-out.ts';
import type { BuyerContext } from './buyer-calls.ts';
import { absentResponse } from './queries.ts';

export interface ReleaseContext extends BuyerContext {
  soldOut: SoldOut;
}

export const release: BuyerHandler<ReleaseContext> = (exchange, id, { name }, context) => {
  const { shards, views, soldOut, buyerCalls } = context;
  const address = parseReservationId(id);
  if (!address) return exchange.respond(PROBLEM_RESPONSES.reservation_not_found);
  const { saleId } = address;
  const { requestId, traceparent } = exchange;
  buyerCalls.run(exchange, async () => {
    const request = {
      address,
      transition: 'give-back',
      buyerId: name,
      detail: 'by the buyer',
      requestId,
      traceparent,
      tag: newTag(),
    } as const;
    const reply = await afterDueHolds(shards, saleId, () =>
      shards.call(transition, saleId, request),
    );
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
      case 'unpaid':
      case 'unrecorded':
      case 'conflict':
      case 'sold_out':
      case 'insufficient_stock':
      case 'limit_reached':
        throw new Fault('reply_malformed', `a release cannot be ${reply.outcome}`);
      default: {
        return absentResponse(reply.outcome, { views, saleId }, 'reservation_not_found');
      }
    }
  });
};
