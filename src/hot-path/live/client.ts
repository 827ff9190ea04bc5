/**
 * One WebSocket, with the state of its buyer as last sent. It filters out repeated and late updates. An older version of
 * a reservation never follows a newer one. A rank on the waitlist is sent only when it changes. Messages about the sale
 * come from the room by publish/subscribe.
 */

import { publicReservation, type Reservation } from '../../domain/reservation.ts';
import { waitlistTicketOf } from '../../domain/waitlist.ts';
import type { ReadBuyerReply, WaitlistRank } from '../../lua/read/read-buyer.ts';
import type { HashedName } from '../admission/hashed-name.ts';

/** The used part of the WebSocket of uWebSockets.js, which is invalid once closed. */
export interface LiveSocket {
  send(message: string): unknown;
  end(code: number, reason: string): void;
  cork(write: () => void): unknown;
}

/** The number of reservations whose sent version is stored; the least recently sent are evicted. */
const VERSIONS_MAX = 256;
/** Clients have no reason to send: more messages and pings than this in a window close the WebSocket. */
const RECEIVED_MAX = 30;
const RECEIVED_WINDOW_MS = 10_000;

export class LiveClient {
  readonly saleId: string;
  /** Undefined: the client sent no token, and gets messages about the sale only. */
  readonly buyerId: string | undefined;
  /** See client-address.ts. */
  readonly address: string;
  /** Its group in the broadcast schedule. */
  readonly group: number;
  isSlow = false;
  #socket: LiveSocket | undefined;
  readonly #versions = new Map<string, number>();
  /** By SKU, as last sent. */
  readonly #ranks = new Map<string, WaitlistRank>();
  /** By SKU: when the waitlist served this buyer. A rank that was read before that is outdated. */
  readonly #servedAt = new Map<string, number>();
  #hasSnapshot = false;
  #received = 0;
  #windowStartedAt = 0;

  constructor(
    upgrade: { saleId: string; buyer: HashedName | undefined; address: string },
    group: number,
  ) {
    this.saleId = upgrade.saleId;
    this.buyerId = upgrade.buyer?.name;
    this.address = upgrade.address;
    this.group = group;
  }

  get isOpen(): boolean {
    return this.#socket !== undefined;
  }

  /** The SKUs whose waitlists it is on, as last sent. */
  get waitlistedSkus(): Iterable<string> {
    return this.#ranks.keys();
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

  /** Counts a message from the client. False: it sends too many. */
  countReceived(): boolean {
    const now = performance.now();
    if (now - this.#windowStartedAt > RECEIVED_WINDOW_MS) {
      this.#windowStartedAt = now;
      this.#received = 0;
    }
    return ++this.#received <= RECEIVED_MAX;
  }

  /**
   * Sends the current state of a reservation. `isLive`: it was created or changed while the client was connected. In the
   * first snapshot, a reservation from the waitlist can be of any age.
   */
  sendReservation(reservation: Reservation, isLive: boolean): void {
    const { reservationId, version } = reservation;
    const sent = this.#versions.get(reservationId);
    if (sent !== undefined && sent >= version) return;
    this.#storeVersion(reservationId, version);
    this.#sendJson({ type: 'reservation', reservation: publicReservation(reservation) });
    if (sent !== undefined || waitlistTicketOf(reservation) === undefined) return;
    for (const { sku, quantity } of reservation.items) {
      const wasWaiting = this.#ranks.delete(sku);
      if (!wasWaiting && !isLive) continue;
      this.#servedAt.set(sku, performance.now());
      this.#sendRank({ sku, quantity, place: 0 }, 'served');
    }
  }

  /** Sends the rank for a SKU. `readAt` is when the read was sent, on this process' monotonic clock. */
  sendRank(rank: WaitlistRank, readAt: number): void {
    if (readAt <= (this.#servedAt.get(rank.sku) ?? Number.NEGATIVE_INFINITY)) return;
    const sent = this.#ranks.get(rank.sku);
    if (sent?.place === rank.place && sent.quantity === rank.quantity) return;
    this.#ranks.set(rank.sku, rank);
    this.#sendRank(rank, 'waiting');
  }

  /** Sends a snapshot of the buyer's state. The client has left every waitlist that is neither in it nor served. */
  sendSnapshot(reply: Extract<ReadBuyerReply, { outcome: 'known' }>, readAt: number): void {
    this.#socket?.cork(() => {
      for (const reservation of reply.reservations) {
        this.sendReservation(reservation, this.#hasSnapshot);
      }
      this.#hasSnapshot = true;
      for (const rank of reply.waiting) this.sendRank(rank, readAt);
      for (const [sku, rank] of this.#ranks) {
        if (reply.waiting.some((each) => each.sku === sku)) continue;
        this.#ranks.delete(sku);
        this.#sendRank({ ...rank, place: 0 }, 'left');
      }
    });
  }

  #storeVersion(reservationId: string, version: number): void {
    this.#versions.delete(reservationId);
    this.#versions.set(reservationId, version);
    if (this.#versions.size > VERSIONS_MAX) {
      const [oldest] = this.#versions.keys();
      this.#versions.delete(oldest!);
    }
  }

  #sendRank(rank: WaitlistRank, state: 'waiting' | 'served' | 'left'): void {
    this.#sendJson({ type: 'waitlist', saleId: this.saleId, ...rank, state });
  }

  #sendJson(message: object): void {
    this.send(JSON.stringify(message));
  }
}
