/** Moves one reservation to another state, once. The contract is the header of transition.lua. */
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
  /** Whose it must be; undefined: anybody's. */
  buyerId?: string;
  /** For the history: a payment's reference, a reason. */
  detail: string;
  requestId: string;
  traceparent: string;
  /** For whoever in line gets what this gives back, see domain/identifiers.ts. */
  tag: string;
}

export type TransitionReply =
  | { outcome: 'changed' | 'repeated' | 'forbidden'; reservation: Reservation }
  | { outcome: 'unknown_reservation' | 'unknown_sale' | 'recovering' };

export const transition = defineScript({
  source: new URL('transition.lua', import.meta.url),
  keys: CHANGE_KEYS,
  args: 'position tag buyer from to detail trace newTag',
  encode(asked: TransitionRequest) {
    const { from, to } = RESERVATION_TRANSITIONS[asked.transition];
    return [
      asked.address.position,
      asked.address.tag,
      asked.buyerId ?? '',
      from,
      to,
      encodeURIComponent(asked.detail),
      formatTrace(asked.requestId, asked.traceparent),
      asked.tag,
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
