/**
 * One WebSocket and what its client has been told: of the sale by publish/subscribe, of its buyer's own things from
 * here. Whatever comes twice or late is kept back: of a reservation no older version follows a newer, and a place is
 * told when it changes.
 */

import { publicReservation, type Reservation } from '../../domain/reservation.ts';
import { waitlistTicketOf } from '../../domain/waitlist.ts';
import type { ReadBuyerReply, WaitlistRank } from '../../lua/read/read-buyer.ts';
import type { HashedName } from '../admission/hashed-name.ts';

/** The part of uWebSockets.js' WebSocket that is used; it is void once closed. */
export interface LiveSocket {
  send(message: string): unknown;
  end(code: number, reason: string): void;
  cork(write: () => void): unknown;
}

/** Reservations of one buyer whose version is remembered; the ones told of longest ago leave first. */
const VERSIONS_MAX = 256;
/** A client has nothing to say: so many messages and pings in so long, and it is closed. */
const HEARD_MAX = 30;
const HEARD_WINDOW_MS = 10_000;

export class LiveClient {
  readonly saleId: string;
  /** Undefined: came without a token, and hears of the sale alone. */
  readonly buyerId: string | undefined;
  /** Where it comes from; see client-address.ts. */
  readonly address: string;
  /** The group that hears of the sale at the same moment. */
  readonly row: number;
  isSlow = false;
  #socket: LiveSocket | undefined;
  readonly #versions = new Map<string, number>();
  /** By SKU. */
  readonly #places = new Map<string, WaitlistRank>();
  /** By SKU: when word came that the line had served it. What was asked before that tells of a place that is gone. */
  readonly #servedAt = new Map<string, number>();
  #hasSnapshot = false;
  #heard = 0;
  #heardSince = 0;

  constructor(
    asked: { saleId: string; buyer: HashedName | undefined; address: string },
    row: number,
  ) {
    this.saleId = asked.saleId;
    this.buyerId = asked.buyer?.name;
    this.address = asked.address;
    this.row = row;
  }

  get isOpen(): boolean {
    return this.#socket !== undefined;
  }

  /** SKUs that it was told to wait for. */
  get waitsFor(): Iterable<string> {
    return this.#places.keys();
  }

  opened(socket: LiveSocket): void {
    this.#socket = socket;
  }

  closed(): void {
    this.#socket = undefined;
  }

  end(code: number, reason: string): void {
    this.#socket?.end(code, reason);
  }

  send(text: string): void {
    this.#socket?.send(text);
  }

  /** False: it talks too much. */
  hear(): boolean {
    const now = performance.now();
    if (now - this.#heardSince > HEARD_WINDOW_MS) {
      this.#heardSince = now;
      this.#heard = 0;
    }
    return ++this.#heard <= HEARD_MAX;
  }

  /**
   * A reservation as it is now. `isNews`: it came to be or changed while the client was listening; in a first reading
   * there is no telling how old a gift of the line is.
   */
  tellReservation(reservation: Reservation, isNews: boolean): void {
    const { reservationId, version } = reservation;
    const told = this.#versions.get(reservationId);
    if (told !== undefined && told >= version) return;
    this.#remember(reservationId, version);
    this.#say({ type: 'reservation', reservation: publicReservation(reservation) });
    if (told !== undefined || waitlistTicketOf(reservation) === undefined) return;
    for (const { sku, quantity } of reservation.items) {
      const waited = this.#places.delete(sku);
      if (!waited && !isNews) continue;
      this.#servedAt.set(sku, performance.now());
      this.#sayPlace({ sku, quantity, place: 0 }, 'served');
    }
  }

  /** Where it stands for a SKU; `askedAt` is when that was asked, on this process' monotonic clock. */
  tellPlace(place: WaitlistRank, askedAt: number): void {
    if (askedAt <= (this.#servedAt.get(place.sku) ?? Number.NEGATIVE_INFINITY)) return;
    const told = this.#places.get(place.sku);
    if (told?.place === place.place && told.quantity === place.quantity) return;
    this.#places.set(place.sku, place);
    this.#sayPlace(place, 'waiting');
  }

  /** Everything of its own at one moment. What it waited for and is neither here nor served, it has left. */
  tellAll(reply: Extract<ReadBuyerReply, { outcome: 'known' }>, askedAt: number): void {
    this.#socket?.cork(() => {
      for (const reservation of reply.reservations) {
        this.tellReservation(reservation, this.#hasSnapshot);
      }
      this.#hasSnapshot = true;
      for (const place of reply.waiting) this.tellPlace(place, askedAt);
      for (const [sku, place] of this.#places) {
        if (reply.waiting.some((each) => each.sku === sku)) continue;
        this.#places.delete(sku);
        this.#sayPlace({ ...place, place: 0 }, 'left');
      }
    });
  }

  #remember(reservationId: string, version: number): void {
    this.#versions.delete(reservationId);
    this.#versions.set(reservationId, version);
    if (this.#versions.size > VERSIONS_MAX) {
      const [oldest] = this.#versions.keys();
      this.#versions.delete(oldest!);
    }
  }

  #sayPlace(place: WaitlistRank, state: 'waiting' | 'served' | 'left'): void {
    this.#say({ type: 'waitlist', saleId: this.saleId, ...place, state });
  }

  #say(message: object): void {
    this.send(JSON.stringify(message));
  }
}
