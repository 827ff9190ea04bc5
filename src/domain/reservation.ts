/**
 * A reservation: stock held for one buyer until a deadline, and the transitions of its status. Its text formats are in
 * reservation-codec.ts.
 */

export const RESERVATION_STATUSES = ['reserved', 'confirmed', 'cancelled', 'expired'] as const;
export type ReservationStatus = (typeof RESERVATION_STATUSES)[number];

/** Who got the units: a buyer who bought them, or one to whom the waitlist gave them. */
export const RESERVATION_SOURCES = ['purchase', 'waitlist'] as const;
export type ReservationSource = (typeof RESERVATION_SOURCES)[number];

/**
 * A reservation from the waitlist has the key `waitlist TICKET`. No buyer can send a key with a space. In PostgreSQL, the
 * function `source(reservations)` is the counterpart.
 */
export function sourceOf({ idempotencyKey }: { idempotencyKey: string }): ReservationSource {
  return idempotencyKey.startsWith('waitlist ') ? 'waitlist' : 'purchase';
}

/** Redis and the event stream store a status as one letter. `P` is a reservation whose hold was extended. */
export const STATUS_OF_LETTER: Readonly<Record<string, ReservationStatus>> = {
  R: 'reserved',
  P: 'reserved',
  C: 'confirmed',
  X: 'cancelled',
  E: 'expired',
};

/**
 * Every transition: from which letters, to which. Scripts, both APIs and the documentation use this table. The script
 * that leaves `reserved` or `confirmed` for `cancelled` or `expired` also returns the units to stock.
 */
export const RESERVATION_TRANSITIONS = {
  confirm: { from: 'RP', to: 'C' },
  /** Also after the hold has expired, if its units are still free and the buyer's limit allows them. */
  reclaim: { from: 'RPE', to: 'C' },
  /** Adds the payment to a reservation that was confirmed without one. */
  attach: { from: 'C', to: 'C' },
  /** By the merchant: returns held units, or refunds confirmed ones. */
  cancel: { from: 'RPC', to: 'X' },
  /** By the buyer, who cannot return confirmed units. */
  'give-back': { from: 'RP', to: 'X' },
  /** Once, by the sale's hold time for purchases. */
  extend: { from: 'R', to: 'P' },
  /** By the sweep, after the deadline. */
  expire: { from: 'RP', to: 'E' },
} as const satisfies Record<string, { from: string; to: string }>;
/** Each possible step: `RC` is from R to C. */
export const TRANSITION_STEPS: readonly string[] = Object.values(RESERVATION_TRANSITIONS).flatMap(
  ({ from, to }) => Array.from(from, (letter) => letter + to),
);
export type ReservationTransition = keyof typeof RESERVATION_TRANSITIONS;

/** Whether the reservation holds or has units. */
export function isLiving({ status }: { status: ReservationStatus }): boolean {
  return status === 'reserved' || status === 'confirmed';
}

export function statusAfter(transition: ReservationTransition): ReservationStatus {
  return STATUS_OF_LETTER[RESERVATION_TRANSITIONS[transition].to]!;
}

export interface Item {
  sku: string;
  quantity: number;
}

/** An item of a reservation. `quantity` is what is left. */
export interface OwnItem extends Item {
  /** Units that a merchant has cancelled while others were left; absent: none. */
  cancelled?: number;
}

export interface PricedItem extends OwnItem {
  /** Minor units. */
  unitPrice: number;
}

export interface Reservation {
  reservationId: string;
  saleId: string;
  buyerId: string;
  status: ReservationStatus;
  items: readonly PricedItem[];
  total: number;
  currency: string;
  position: number;
  /** 1 when reserved, one more for each transition. */
  version: number;
  reservedAt: number;
  expiresAt: number;
  /** Empty: the buyer sent none, and the buyer and the items serve as the key. The waitlist has keys of its own, see `sourceOf`. */
  idempotencyKey: string;
}

export interface ReservationEvent extends Reservation {
  occurredAt: number;
  detail: string;
  requestId: string;
  traceparent: string;
}

/**
 * Whether an event is the first of its reservation and follows from it: PostgreSQL then stores its number with the row,
 * and nothing else. The view `reservation_history` is the counterpart. A restored event does not follow.
 */
export function firstEventFollows(event: ReservationEvent): boolean {
  return (
    event.version === 1 &&
    event.status === 'reserved' &&
    event.occurredAt === event.reservedAt &&
    event.detail === (sourceOf(event) === 'waitlist' ? 'waitlist' : '')
  );
}

/** The items that a reservation does not have, by index; `left` is undefined if it never had the SKU. */
export function itemsBeyond(
  own: readonly OwnItem[],
  wanted: readonly Item[],
): { index: number; left: number | undefined }[] {
  const leftOf = new Map(own.map(({ sku, quantity }) => [sku, quantity]));
  return wanted.flatMap(({ sku, quantity }, index) => {
    const left = leftOf.get(sku);
    return left !== undefined && quantity <= left ? [] : [{ index, left }];
  });
}

/** What is left after a part was cancelled, which the reservation must have; undefined: nothing. */
export function withoutPart(
  { items, total }: Pick<Reservation, 'items' | 'total'>,
  part: readonly Item[],
): Pick<Reservation, 'items' | 'total'> | undefined {
  let left = total;
  const kept = items.map((item) => {
    const units = part.find(({ sku }) => sku === item.sku)?.quantity ?? 0;
    if (units === 0) return item;
    left -= units * item.unitPrice;
    const cancelled = (item.cancelled ?? 0) + units;
    return { ...item, quantity: item.quantity - units, cancelled };
  });
  return kept.some(({ quantity }) => quantity > 0) ? { items: kept, total: left } : undefined;
}

/** A hold that is past its deadline is expired, whether or not a sweep has ended it. */
export function asOf(reservation: Reservation, nowMs: number): Reservation {
  const isOverdue = reservation.status === 'reserved' && reservation.expiresAt <= nowMs;
  return isOverdue ? { ...reservation, status: 'expired' } : reservation;
}

/** The reservation as both APIs show it. */
export type PublicReservation = Omit<Reservation, 'version' | 'idempotencyKey' | Times> &
  Record<Times, string> & { source: ReservationSource };
type Times = 'reservedAt' | 'expiresAt';

export function publicReservation(reservation: Reservation): PublicReservation {
  return {
    reservationId: reservation.reservationId,
    saleId: reservation.saleId,
    buyerId: reservation.buyerId,
    status: reservation.status,
    items: reservation.items,
    total: reservation.total,
    currency: reservation.currency,
    position: reservation.position,
    source: sourceOf(reservation),
    reservedAt: new Date(reservation.reservedAt).toISOString(),
    expiresAt: new Date(reservation.expiresAt).toISOString(),
  };
}
