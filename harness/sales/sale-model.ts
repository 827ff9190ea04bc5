/** A reference model of a sale: no Redis, no batches, no packed formats. The scripts must agree with it. */
import {
  type Item,
  RESERVATION_TRANSITIONS,
  type ReservationStatus,
  type ReservationTransition,
} from '../../src/domain/reservation.ts';
import { canonicalItems } from '../../src/domain/reservation-codec.ts';
import { availableOf, type SaleDefinition, type SkuStock } from '../../src/domain/sale.ts';
import type { StockChange } from '../../src/lua/operate/apply-operation.ts';

export type Letter = 'R' | 'P' | 'C' | 'X' | 'E';

export interface ModelReservation {
  buyerId: string;
  key: string;
  /** As they were bought. */
  bought: Item[];
  /** What is left. */
  items: Item[];
  position: number;
  tag: string;
  letter: Letter;
  version: number;
  /** A hold of the model lasts 0 seconds or practically for ever, so it is either due or not. */
  isDue: boolean;
  /** Of its confirmation; empty: none. */
  payment: string;
  /** Its units left the sale. */
  isWithdrawn: boolean;
  /** The cancellations that named items, as texts, and their keys. */
  parts: { text: string; key: string }[];
}

export interface ModelEvent {
  position: number;
  buyerId: string;
  status: ReservationStatus;
  version: number;
}

export const statusOf = (letter: Letter): ReservationStatus => STATUS_OF[letter];
const STATUS_OF: Record<Letter, ReservationStatus> = {
  R: 'reserved',
  P: 'reserved',
  C: 'confirmed',
  X: 'cancelled',
  E: 'expired',
};

export type ModelOutcome =
  | { outcome: 'reserved' | 'replayed'; reservation: ModelReservation }
  | { outcome: string; details?: Record<string, unknown> };

const HOLDS_MAX = 20;

interface WaitlistEntry {
  buyerId: string;
  sku: string;
  quantity: number;
  ticket: number;
}

export class SaleModel {
  definition: SaleDefinition;
  readonly stock = new Map<string, SkuStock>();
  readonly reservations: ModelReservation[] = [];
  readonly events: ModelEvent[] = [];
  waitlist: WaitlistEntry[] = [];
  #tickets = 0;
  #departures = 0;

  constructor(definition: SaleDefinition) {
    this.definition = definition;
  }

  apply(
    definition: SaleDefinition,
    changes: StockChange[],
  ): 'applied' | 'insufficient_stock' | 'sale_ended' {
    const { status, startsAt, endsAt } = this.definition;
    const isOver = this.closed(Date.now()) === 'sale_ended';
    // Only what keeps an ended sale ended.
    const staysOver =
      definition.endsAt === endsAt &&
      definition.status !== 'draft' &&
      (status !== 'ended' || definition.status === 'ended');
    if (isOver && !staysOver) return 'sale_ended';
    for (const { sku, delta } of changes) {
      if ((this.stock.get(sku)?.remaining ?? 0) + delta < 0) return 'insufficient_stock';
    }
    for (const { sku } of definition.skus) {
      if (!this.stock.has(sku)) {
        const counts = { loaded: 0, remaining: 0, held: 0, confirmed: 0 };
        this.stock.set(sku, { sku, ...counts, waiting: 0, smallestWaiting: 0 });
      }
    }
    for (const { sku, delta } of changes) {
      const stock = this.stock.get(sku)!;
      stock.loaded += delta;
      stock.remaining += delta;
    }
    // A sale that has started keeps its start.
    const hasBegun = status !== 'draft' && startsAt !== null && Date.now() >= startsAt;
    this.definition =
      hasBegun && definition.status !== 'draft' ? { ...definition, startsAt } : definition;
    return 'applied';
  }

  /** Whether a hold is past its deadline and no sweep has ended it. */
  get hasDueHolds(): boolean {
    return this.reservations.some(isOverdue);
  }

  /** `hasDueHolds`: before the batch of this purchase. */
  buy(
    { buyerId, key, items }: { buyerId: string; key: string; items: Item[] },
    { nowMs, tag, hasDueHolds }: { nowMs: number; tag: string; hasDueHolds: boolean },
  ): ModelOutcome {
    const own = this.reservations.filter((reservation) => reservation.buyerId === buyerId);
    const isSame = (each: ModelReservation) =>
      canonicalItems(each.bought) === canonicalItems(items);
    const earlier = own.find((each) =>
      key === ''
        ? lives(each) && isSame(each) && (each.key === '' || isFromWaitlist(each.key))
        : each.key === key,
    );
    if (earlier) {
      if (isOverdue(earlier)) return { outcome: 'holds_due' };
      return isSame(earlier)
        ? { outcome: 'replayed', reservation: earlier }
        : { outcome: 'key_reused' };
    }
    const closed = this.closed(nowMs);
    if (closed) return { outcome: closed };
    const sorted = [...items].sort((a, b) => (a.sku < b.sku ? -1 : 1));
    const unknown = sorted.filter(({ sku }) => !this.stock.has(sku)).map(({ sku }) => sku);
    if (unknown.length > 0) return { outcome: 'unknown_sku', details: { skus: unknown } };
    const above = this.#limitAbove(sorted, own, 0);
    if (above && hasDueHolds) return { outcome: 'holds_due' };
    if (above) return { outcome: 'limit_reached', details: above };
    const available = sorted.map(({ sku }) => availableOf(this.stock.get(sku)!));
    if (sorted.some(({ quantity }, index) => available[index]! < quantity)) {
      if (hasDueHolds) return { outcome: 'holds_due' };
      const outcome = available.includes(0) ? 'sold_out' : 'insufficient_stock';
      return { outcome, details: { available: available.join(',') } };
    }
    if (this.#hasTooManyHolds(buyerId)) return { outcome: 'too_many_holds' };
    return { outcome: 'reserved', reservation: this.#give(buyerId, key, items, tag) };
  }

  transition(
    reservation: ModelReservation,
    transition: Exclude<ReservationTransition, 'expire'>,
    nowMs: number,
    tag: string,
    {
      payment = '',
      restock,
      items,
      key = '',
    }: { payment?: string; restock?: boolean; items?: Item[]; key?: string } = {},
  ): string {
    const { from, to } = RESERVATION_TRANSITIONS[transition];
    if (isOverdue(reservation)) return 'holds_due';
    const part = items && { text: `${canonicalItems(items)} ${restock !== false}`, key };
    for (const earlier of reservation.parts) {
      if (part && earlier.text === part.text && earlier.key === key) return 'repeated';
      if (key !== '' && earlier.key === key) return 'key_reused';
    }
    const attaches = transition === 'attach';
    if (reservation.letter === to && !part) {
      if (restock !== undefined && restock === reservation.isWithdrawn) return 'forbidden';
      const { payment: recorded } = reservation;
      if (to !== 'C' || payment === '' || payment === recorded) return 'repeated';
      if (recorded !== '') return 'conflict';
      if (!attaches) return 'unpaid';
    } else if (!from.includes(reservation.letter)) {
      return 'forbidden';
    }
    if (reservation.letter === 'E') {
      const refused = this.#refusalOfReclaim(reservation);
      if (refused !== undefined) return this.hasDueHolds ? 'holds_due' : refused;
    }
    const leftOf = (sku: string) => reservation.items.find((each) => each.sku === sku)?.quantity;
    if (items?.some(({ sku, quantity }) => quantity > (leftOf(sku) ?? -1))) return 'beyond';
    if (part) reservation.parts.push(part);
    if (items && unitsIn(items) < unitsIn(reservation.items)) {
      this.#cutOff(reservation, items, restock !== false);
      if (restock !== false) {
        const skus = items.map(({ sku }) => sku);
        this.#serve(skus, nowMs, tag);
      }
      return 'changed';
    }
    if (to === 'C') reservation.payment = payment;
    if (restock === false) {
      reservation.isWithdrawn = true;
      for (const { sku, quantity } of reservation.items) this.#withdraw(sku, quantity);
    }
    this.#become(reservation, to);
    if (to === 'X' && restock !== false)
      this.#serve(
        reservation.items.map(({ sku }) => sku),
        nowMs,
        tag,
      );
    return 'changed';
  }

  #refusalOfReclaim(reservation: ModelReservation): string | undefined {
    const { buyerId } = reservation;
    const items = reservation.items.filter(({ quantity }) => quantity > 0);
    const own = this.reservations.filter((each) => each.buyerId === buyerId);
    if (this.#limitAbove(items, own, 0)) return 'limit_reached';
    const available = items.map(({ sku }) => availableOf(this.stock.get(sku)!));
    if (available.includes(0)) return 'sold_out';
    const isShort = items.some(({ quantity }, index) => available[index]! < quantity);
    return isShort ? 'insufficient_stock' : undefined;
  }

  sweep(nowMs: number, tag: string): void {
    for (const reservation of this.reservations) {
      if ((reservation.letter === 'R' || reservation.letter === 'P') && reservation.isDue) {
        this.#become(reservation, 'E');
      }
    }
    this.#serve([...this.stock.keys()], nowMs, tag);
  }

  /** The outcome, and its first number. */
  join(buyerId: string, sku: string, quantity: number, nowMs: number): [string, number] {
    const present = this.waitlist.find((each) => each.buyerId === buyerId && each.sku === sku);
    const closed = this.closed(nowMs);
    if (closed === 'sale_ended') return [closed, 0];
    if (present) {
      return [present.quantity === quantity ? 'already' : 'waiting', this.#rankOf(present)];
    }
    if (closed) return [closed, 0];
    const stock = this.stock.get(sku);
    if (!stock) return ['unknown_sku', 0];
    if (quantity <= availableOf(stock)) return ['available', 0];
    const waits = unitsIn(this.waitlist.filter((each) => each.buyerId === buyerId));
    const own = this.reservations.filter((each) => each.buyerId === buyerId);
    const above = this.#limitAbove([{ sku, quantity }], own, waits);
    if (above) return ['limit_reached', above.remaining];
    if (this.#hasTooManyHolds(buyerId)) return ['too_many_holds', 0];
    const entry = { buyerId, sku, quantity, ticket: ++this.#tickets };
    this.waitlist.push(entry);
    this.#countWaiting(sku);
    return ['joined', this.#rankOf(entry)];
  }

  /** Grows with every change of a reservation or a waitlist. */
  get changes(): number {
    return this.events.length + this.#tickets + this.#departures;
  }

  /** Leaves the waitlist of one SKU after the other. */
  leave(buyerId: string, nowMs: number, tag: string): number {
    const entries = this.waitlist.filter((each) => each.buyerId === buyerId);
    for (const { sku } of this.definition.skus) {
      const entry = entries.find((each) => each.sku === sku);
      if (!entry || !this.waitlist.includes(entry)) continue;
      this.#takeOut(entry);
      this.#serve([sku], nowMs, tag);
    }
    return entries.length;
  }

  closed(nowMs: number): string | undefined {
    const { status, startsAt, endsAt } = this.definition;
    if (status === 'ended') return 'sale_ended';
    if (status === 'draft') return 'sale_not_started';
    if (endsAt !== null && nowMs >= endsAt) return 'sale_ended';
    if (startsAt !== null && nowMs < startsAt) return 'sale_not_started';
    return status === 'paused' ? 'sale_paused' : undefined;
  }

  #serve(skus: string[], nowMs: number, tag: string): void {
    if (this.closed(nowMs)) return;
    for (const sku of [...skus].sort()) {
      const stock = this.stock.get(sku)!;
      const { perBuyerLimit } = this.definition;
      const possible = Math.min(perBuyerLimit, this.#limitOf(sku) ?? perBuyerLimit);
      for (const entry of this.waitlist.filter((each) => each.sku === sku)) {
        if (entry.quantity > possible) this.#takeOut(entry);
      }
      for (;;) {
        const entry = this.waitlist.find(
          (each) => each.sku === sku && each.quantity <= stock.remaining,
        );
        if (!entry) break;
        const own = this.reservations.filter((each) => each.buyerId === entry.buyerId);
        // Expired holds count against the limit until the sweep, but do not cost the buyer the entry.
        const lasting = own.filter((each) => each.letter === 'C' || !each.isDue);
        if (this.#limitAbove([entry], lasting, 0) || this.#hasTooManyHolds(entry.buyerId)) {
          this.#takeOut(entry);
        } else if (this.#limitAbove([entry], own, 0)) {
          break;
        } else {
          this.#takeOut(entry);
          const key = `waitlist ${String(entry.ticket).padStart(12, '0')}`;
          this.#give(entry.buyerId, key, [{ sku, quantity: entry.quantity }], tag);
        }
      }
    }
  }

  /** The last reservations of the buyer that ended were all holds, and within the window, as everything in the model. */
  #hasTooManyHolds(buyerId: string): boolean {
    const last = this.reservations
      .filter((each) => each.buyerId === buyerId && !lives(each))
      .slice(-HOLDS_MAX);
    return last.length === HOLDS_MAX && last.every(({ version }) => version === 2);
  }

  #takeOut(entry: WaitlistEntry): void {
    this.waitlist = this.waitlist.filter((each) => each !== entry);
    this.#countWaiting(entry.sku);
    this.#departures++;
  }

  #countWaiting(sku: string): void {
    const quantities = this.waitlist
      .filter((each) => each.sku === sku)
      .map(({ quantity }) => quantity);
    const stock = this.stock.get(sku)!;
    stock.waiting = quantities.length;
    stock.smallestWaiting = quantities.length > 0 ? Math.min(...quantities) : 0;
  }

  #rankOf(entry: WaitlistEntry): number {
    return this.waitlist.filter(({ sku }) => sku === entry.sku).indexOf(entry) + 1;
  }

  #give(buyerId: string, key: string, items: Item[], tag: string): ModelReservation {
    for (const { sku, quantity } of items) {
      const stock = this.stock.get(sku)!;
      stock.remaining -= quantity;
      stock.held += quantity;
    }
    const { holdSeconds, waitlistHoldSeconds = holdSeconds } = this.definition;
    const reservation: ModelReservation = {
      buyerId,
      key,
      bought: items,
      items,
      parts: [],
      position: this.reservations.length + 1,
      tag,
      letter: 'R',
      version: 1,
      isDue: (isFromWaitlist(key) ? waitlistHoldSeconds : holdSeconds) === 0,
      payment: '',
      isWithdrawn: false,
    };
    this.reservations.push(reservation);
    this.#log(reservation);
    return reservation;
  }

  /** A part, which is not all that is left. */
  #cutOff(reservation: ModelReservation, part: readonly Item[], isRestocked: boolean): void {
    const count = countOf(reservation.letter);
    for (const { sku, quantity } of part) {
      const stock = this.stock.get(sku)!;
      stock[count] -= quantity;
      stock[isRestocked ? 'remaining' : 'loaded'] += isRestocked ? quantity : -quantity;
    }
    reservation.items = reservation.items.map(({ sku, quantity }) => ({
      sku,
      quantity: quantity - (part.find((each) => each.sku === sku)?.quantity ?? 0),
    }));
    reservation.version++;
    this.#log(reservation);
  }

  #become(reservation: ModelReservation, letter: Letter): void {
    const [left, reached] = [countOf(reservation.letter), countOf(letter)];
    for (const { sku, quantity } of reservation.items) {
      const stock = this.stock.get(sku)!;
      stock[left] -= quantity;
      stock[reached] += quantity;
    }
    reservation.letter = letter;
    reservation.version++;
    this.#log(reservation);
  }

  #log({ position, buyerId, letter, version }: ModelReservation): void {
    this.events.push({ position, buyerId, status: STATUS_OF[letter], version });
  }

  #limitOf(sku: string): number | undefined {
    return this.definition.skus.find((each) => each.sku === sku)?.perBuyerLimit;
  }

  /** The limit that the items exceed, one of a SKU before the one of the sale. `waits`: units that the buyer waits for. */
  #limitAbove(items: readonly Item[], own: readonly ModelReservation[], waits: number) {
    const { perBuyerLimit } = this.definition;
    const living = own.filter(lives).flatMap((each) => each.items);
    const allowed = perBuyerLimit - unitsIn(living) - waits;
    for (const { sku, quantity } of items) {
      const limit = this.#limitOf(sku);
      if (limit === undefined) continue;
      const left = limit - unitsIn(living.filter((each) => each.sku === sku));
      if (quantity > left) return { limit, remaining: Math.max(0, Math.min(left, allowed)), sku };
    }
    if (unitsIn(items) <= allowed) return undefined;
    return { limit: perBuyerLimit, remaining: Math.max(0, allowed), sku: '' };
  }

  /** Before the units are returned. */
  #withdraw(sku: string, quantity: number): void {
    const stock = this.stock.get(sku)!;
    stock.loaded -= quantity;
    stock.remaining -= quantity;
  }
}

function isFromWaitlist(key: string): boolean {
  return key.startsWith('waitlist ');
}

function isOverdue({ letter, isDue }: ModelReservation): boolean {
  return (letter === 'R' || letter === 'P') && isDue;
}

function lives({ letter }: ModelReservation): boolean {
  return letter === 'R' || letter === 'P' || letter === 'C';
}

function countOf(letter: Letter): 'held' | 'confirmed' | 'remaining' {
  if (letter === 'R' || letter === 'P') return 'held';
  return letter === 'C' ? 'confirmed' : 'remaining';
}

function unitsIn(items: readonly { quantity: number }[]): number {
  return items.reduce((units, { quantity }) => units + quantity, 0);
}
