/**
 * The buyer's reservations and waits, from two sources: messages, each with one change, and reads of the whole state. A
 * read does not replace what a message has changed since the read began, because the message may be newer.
 */
import type { LiveMessage, Mine, Reservation } from './operations.ts';

export type Wait = Mine['waitlist'][number];

export class OwnState {
  readonly #reservations = new Map<string, Reservation>();
  /** By SKU. */
  readonly #waits = new Map<string, Wait>();
  #reads = 0;
  /** The last read that began before the last change of a reservation, by its id, or of a wait, by its SKU. */
  readonly #changedInRead = new Map<string, number>();

  /** By position. */
  get reservations(): Reservation[] {
    return [...this.#reservations.values()].sort((a, b) => a.position - b.position);
  }

  get waits(): Wait[] {
    return [...this.#waits.values()];
  }

  receive(message: Exclude<LiveMessage, { type: 'sale' }>): void {
    if (message.type === 'reservation') {
      this.#set(message.reservation);
      return;
    }
    const { sku, quantity, place, state } = message;
    if (state === 'waiting') this.#waits.set(sku, { sku, quantity, place });
    else this.#waits.delete(sku);
    this.#changedInRead.set(waitId(sku), this.#reads);
  }

  /** Takes the reservation of a response, unless it is known to be settled. */
  accept(reservation: Reservation): void {
    const known = this.#reservations.get(reservation.reservationId);
    if (!known || known.status === 'reserved') this.#set(reservation);
  }

  /** Begins a read of the whole state. Returns how to finish it. */
  beginRead(): (mine: Mine) => void {
    const read = ++this.#reads;
    const isChanged = (id: string) => (this.#changedInRead.get(id) ?? 0) >= read;
    return ({ reservations, waitlist }) => {
      const reservationIds = new Set(reservations.map(({ reservationId }) => reservationId));
      for (const id of this.#reservations.keys()) {
        if (!reservationIds.has(id) && !isChanged(id)) this.#reservations.delete(id);
      }
      for (const each of reservations) {
        if (!isChanged(each.reservationId)) this.#reservations.set(each.reservationId, each);
      }
      for (const sku of this.#waits.keys()) if (!isChanged(waitId(sku))) this.#waits.delete(sku);
      for (const each of waitlist)
        if (!isChanged(waitId(each.sku))) this.#waits.set(each.sku, each);
      this.#changedInRead.clear();
    };
  }

  #set(reservation: Reservation): void {
    this.#reservations.set(reservation.reservationId, reservation);
    this.#changedInRead.set(reservation.reservationId, this.#reads);
  }
}

/** No id of a reservation contains a space. */
function waitId(sku: string): string {
  return `wait ${sku}`;
}
