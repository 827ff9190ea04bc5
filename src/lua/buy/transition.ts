/** Changes the status of one reservation, once. The contract is the header of transition.lua. */
import type { ReservationAddress } from '../../domain/identifiers.ts';
import {
  type Item,
  RESERVATION_TRANSITIONS,
  type Reservation,
  type ReservationTransition,
} from '../../domain/reservation.ts';
import { canonicalItems, formatTrace, parseRecord } from '../../domain/reservation-codec.ts';
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
  /** For a merchant's cancellation. False: the units leave the sale. Undefined: they stay, and any repetition matches. */
  restock?: boolean;
  /** For a merchant's cancellation: these units only. Undefined: all that are left. */
  items?: readonly Item[];
  /** Of a cancellation that names items; empty: the items and `restock` are the key. */
  idempotencyKey?: string;
  requestId: string;
  traceparent: string;
  /** The tag of reservations that the waitlist gets, see domain/identifiers.ts. */
  tag: string;
}

const OUTCOMES = [
  'changed',
  'repeated',
  'forbidden',
  'unpaid',
  'unrecorded',
  'key_reused',
  'beyond',
] as const;

/** What was decided about a reservation, which is returned as it is now. */
export type TransitionDecision =
  | { outcome: (typeof OUTCOMES)[number]; reservation: Reservation }
  | { outcome: 'conflict'; reservation: Reservation; paymentRef: string }
  | { outcome: Shortage; reservation: Reservation; items: ShortItem[] }
  | {
      outcome: 'limit_reached';
      reservation: Reservation;
      limit: number;
      remaining: number;
      sku: string;
    };

type Shortage = 'sold_out' | 'insufficient_stock';

interface ShortItem {
  sku: string;
  requested: number;
  available: number;
}

/** The items of which fewer units are available, or undefined if all can be had. */
export function shortageOf(
  items: readonly Item[],
  available: readonly number[],
): { outcome: Shortage; items: ShortItem[] } | undefined {
  const short = items
    .map(({ sku, quantity }, index) => ({
      sku,
      requested: quantity,
      available: Math.max(0, available[index]!),
    }))
    .filter((item) => item.available < item.requested);
  if (short.length === 0) return undefined;
  const isSoldOut = short.some((item) => item.available === 0);
  return { outcome: isSoldOut ? 'sold_out' : 'insufficient_stock', items: short };
}

export const transition = defineScript({
  source: new URL('transition.lua', import.meta.url),
  keys: WAITLIST_KEYS,
  args: 'position tag buyer from to detail trace newTag payment restock part key',
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
      request.restock === undefined ? '' : Number(request.restock),
      request.items === undefined ? '' : canonicalItems(request.items),
      request.idempotencyKey ?? '',
    ];
  },
  words: ['holds_due', 'unknown_reservation', 'unknown_sale', 'recovering', 'sale_ended'],
  decode([word, record, buyerId, currency, ...values], saleId): TransitionDecision | undefined {
    if (typeof record !== 'string') return undefined;
    const outcome = OUTCOMES.find((known) => known === word);
    const sale = { saleId, currency: String(currency) };
    const reservation = parseRecord(record, sale, String(buyerId));
    if (outcome !== undefined) return { outcome, reservation };
    const [first, second, third] = values.map(String) as [string, string, string];
    switch (word) {
      case 'conflict':
        return { outcome: 'conflict', reservation, paymentRef: decodeURIComponent(first) };
      case 'limit_reached':
        return {
          outcome: 'limit_reached',
          reservation,
          limit: Number(first),
          remaining: Number(second),
          sku: third,
        };
      case 'sold_out':
      case 'insufficient_stock': {
        const left = reservation.items.filter(({ quantity }) => quantity > 0);
        const shortage = shortageOf(left, first.split(',').map(Number));
        return shortage && { ...shortage, reservation };
      }
      default:
        return undefined;
    }
  },
});

export type TransitionReply = ReturnType<(typeof transition)['decode']>;
