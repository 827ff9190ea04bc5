/** Changes the status of one reservation, once. The contract is the header of transition.lua. */
import type { ReservationAddress } from '../../domain/identifiers.ts';
import { RESERVATION_TRANSITIONS, type ReservationTransition } from '../../domain/reservation.ts';
import { formatTrace, parseRecord } from '../../domain/reservation-codec.ts';
import { WAITLIST_KEYS } from '../keys.ts';
import { defineScript } from '../script.ts';

export interface TransitionRequest {
  address: ReservationAddress;
  transition: Exclude<ReservationTransition, 'expire'>;
  /** The buyer who must own it; undefined: any buyer. */
  buyerId?: string;
  /** For the history: a payment reference or a reason. */
  detail: string;
  requestId: string;
  traceparent: string;
  /** The tag of reservations that the waitlist gets, see domain/identifiers.ts. */
  tag: string;
}

export const transition = defineScript({
  source: new URL('transition.lua', import.meta.url),
  keys: WAITLIST_KEYS,
  args: 'position tag buyer from to detail trace newTag',
  encode(request: TransitionRequest) {
    const { from, to } = RESERVATION_TRANSITIONS[request.transition];
    return [
      request.address.position,
      request.address.tag,
      request.buyerId ?? '',
      from,
      to,
      encodeURIComponent(request.detail),
      formatTrace(request.requestId, request.traceparent),
      request.tag,
    ];
  },
  words: ['unknown_reservation', 'unknown_sale', 'recovering', 'sale_ended'],
  decode([outcome, record, buyerId, currency], saleId) {
    if (outcome !== 'changed' && outcome !== 'repeated' && outcome !== 'forbidden')
      return undefined;
    const sale = { saleId, currency: String(currency) };
    return { outcome, reservation: parseRecord(String(record), sale, String(buyerId)) };
  },
});

export type TransitionReply = ReturnType<(typeof transition)['decode']>;
