/** Changes the status of one reservation, once. The contract is the header of transition.lua. */
import type { ReservationAddress } from '../../domain/identifiers.ts';
import {
  RESERVATION_TRANSITIONS,
  type Reservation,
  type ReservationTransition,
} from '../../domain/reservation.ts';
import { formatTrace, parseRecord } from '../../domain/reservation-codec.ts';
import { WAITLIST_KEYS } from '../keys.ts';
import { defineScript } from '../script.ts';

export interface TransitionRequest {
  address: ReservationAddress;
  transition: Exclude<ReservationTransition, 'expire'>;
  /** The buyer who must own it; undefined: any buyer. */
  buyerId?: string;
  /** For the history, see domain/transition-detail.ts. */
  detail: string;
  /** The reference of the payment that a confirmation refers to; empty: none. */
  payment?: string;
  requestId: string;
  traceparent: string;
  /** The tag of reservations that the waitlist gets, see domain/identifiers.ts. */
  tag: string;
}

const OUTCOMES = ['changed', 'repeated', 'forbidden', 'unpaid', 'unrecorded'] as const;

/** What was decided about a reservation, which is returned as it is now. */
export type TransitionDecision =
  | { outcome: (typeof OUTCOMES)[number]; reservation: Reservation }
  | { outcome: 'conflict'; reservation: Reservation; paymentRef: string };

export const transition = defineScript({
  source: new URL('transition.lua', import.meta.url),
  keys: WAITLIST_KEYS,
  args: 'position tag buyer from to detail trace newTag payment',
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
      encodeURIComponent(request.payment ?? ''),
    ];
  },
  words: ['unknown_reservation', 'unknown_sale', 'recovering', 'sale_ended'],
  decode([word, record, buyerId, currency, payment], saleId): TransitionDecision | undefined {
    const outcome = OUTCOMES.find((known) => known === word);
    if (outcome === undefined && word !== 'conflict') return undefined;
    const sale = { saleId, currency: String(currency) };
    const reservation = parseRecord(String(record), sale, String(buyerId));
    if (outcome !== undefined) return { outcome, reservation };
    const paymentRef = decodeURIComponent(String(payment));
    return { outcome: 'conflict', reservation, paymentRef };
  },
});

export type TransitionReply = ReturnType<(typeof transition)['decode']>;
