/** Changes the status of one reservation, once. The contract is the header of transition.lua. */
import type { ReservationAddress } from '../../domain/identifiers.ts';
import {
  RESERVATION_TRANSITIONS,
  type Reservation,
  type ReservationTransition,
} from '../../domain/reservation.ts';
import { formatTrace, parseRecord } from '../../domain/reservation-codec.ts';
import { CHANGE_KEYS } from '../keys.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

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

export type TransitionReply =
  | { outcome: 'changed' | 'repeated' | 'forbidden'; reservation: Reservation }
  | { outcome: 'unknown_reservation' | 'unknown_sale' | 'recovering' };

export const transition = defineScript({
  source: new URL('transition.lua', import.meta.url),
  keys: CHANGE_KEYS,
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
  decode(reply: Reply, saleId): TransitionReply {
    const [outcome, record, buyerId, currency] = Array.isArray(reply) ? reply : [];
    switch (outcome) {
      case 'changed':
      case 'repeated':
      case 'forbidden': {
        const sale = { saleId, currency: String(currency) };
        return { outcome, reservation: parseRecord(String(record), sale, String(buyerId)) };
      }
      case 'unknown_reservation':
      case 'unknown_sale':
      case 'recovering':
        return { outcome };
      default:
        throw malformed('transition', reply);
    }
  },
});
