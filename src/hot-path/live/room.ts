/**
 * One sale and those who watch it live. Everybody hears of the sale when it has changed; buyers who said who they are
 * hear of their own reservations, wherever they were changed, and of their places in line.
 */
import type { Logger } from 'pino';
import { buyerOfEventLine, parseEvent } from '../../domain/reservation-codec.ts';
import { availableOf, effectiveStatus, type SaleStatus } from '../../domain/sale.ts';
import type { Shards } from '../../redis/shards.ts';
import { redisNowMs, type SaleView } from '../sales/sale-views.ts';
import type { LiveClient } from './client.ts';
import type { ResyncQueue } from './resync-queue.ts';
import { WaitlistRanks } from './waitlist-ranks.ts';

export interface RoomContext {
  shards: Shards;
  syncs: ResyncQueue;
  /** To everybody who subscribed to a topic of `topicOf`. */
  publish: (topic: string, text: string) => void;
  log: Logger;
}

/** Clients that hear of the sale at the same moment. */
interface Row {
  size: number;
  /** What they were told last, without the time. */
  told: string;
}

export function topicOf(saleId: string, row: number): string {
  return `${saleId}/${row}`;
}

export class Room {
  readonly saleId: string;
  readonly #tools: RoomContext;
  readonly #places: WaitlistRanks;
  readonly #clients = new Set<LiveClient>();
  readonly #byBuyer = new Map<string, Set<LiveClient>>();
  readonly #rows = new Map<number, Row>();
  #view: SaleView;
  #status: SaleStatus;
  #state: string;

  constructor(view: SaleView, tools: RoomContext) {
    this.saleId = view.state.definition.saleId;
    this.#tools = tools;
    this.#places = new WaitlistRanks(
      {
        saleId: this.saleId,
        clients: this.#byBuyer,
        vanished: (client) => tools.syncs.add(client),
      },
      tools.shards,
      tools.log,
    );
    this.#view = view;
    this.#status = statusOf(view);
    this.#state = stateOf(view, this.#status);
  }

  get clients(): Iterable<LiveClient> {
    return this.#clients;
  }

  get isEmpty(): boolean {
    return this.#clients.size === 0;
  }

  /** Whether anybody said who they are. */
  get hasBuyers(): boolean {
    return this.#byBuyer.size > 0;
  }

  /** The newest reading of the sale, or the same once more: its clock goes on. */
  see(view: SaleView): void {
    const status = statusOf(view);
    if (view === this.#view && status === this.#status) return;
    this.#view = view;
    this.#status = status;
    this.#state = stateOf(view, status);
  }

  /** Tells a client that has just come how things stand. */
  add(client: LiveClient): void {
    this.#clients.add(client);
    const row = this.#rows.get(client.row);
    if (row) row.size++;
    else this.#rows.set(client.row, { size: 1, told: this.#state });
    client.send(this.#message());
    if (client.buyerId === undefined) return;
    const clients = this.#byBuyer.get(client.buyerId);
    if (clients) clients.add(client);
    else this.#byBuyer.set(client.buyerId, new Set([client]));
  }

  remove(client: LiveClient): void {
    this.#clients.delete(client);
    const row = this.#rows.get(client.row);
    if (row && --row.size === 0) this.#rows.delete(client.row);
    if (client.buyerId === undefined) return;
    const clients = this.#byBuyer.get(client.buyerId);
    clients?.delete(client);
    if (clients?.size === 0) this.#byBuyer.delete(client.buyerId);
  }

  /** Tells a row of clients what has changed since it was last told. */
  tellRow(index: number): void {
    const row = this.#rows.get(index);
    if (!row || row.told === this.#state) return;
    row.told = this.#state;
    this.#tools.publish(topicOf(this.saleId, index), this.#message());
  }

  lookAtPlaces(): void {
    if (this.hasBuyers) this.#places.look(this.#view);
  }

  /** Has every buyer's own things read anew. */
  syncBuyers(): void {
    for (const clients of this.#byBuyer.values()) {
      for (const client of clients) this.#tools.syncs.add(client);
    }
  }

  /** Events of the sale, of which most concern nobody here: only the others are taken apart. */
  hear(lines: string): void {
    const { currency } = this.#view.state.definition;
    for (const line of lines.split('\n')) {
      const clients = this.#byBuyer.get(buyerOfEventLine(line));
      if (!clients) continue;
      if (this.#tools.shards.waitsForReplicas) {
        // A line comes before the replicas' word; reading the buyer's records waits for that.
        for (const client of clients) this.#tools.syncs.add(client);
        continue;
      }
      try {
        const reservation = parseEvent(line, { saleId: this.saleId, currency });
        for (const client of clients) client.tellReservation(reservation, true);
      } catch (error) {
        // Of a newer version, perhaps: what it says is read from the buyer's records instead.
        this.#tools.log.warn({ saleId: this.saleId, err: error }, 'an event was not understood');
        for (const client of clients) this.#tools.syncs.add(client);
      }
    }
  }

  #message(): string {
    const serverTime = new Date(redisNowMs(this.#view)).toISOString();
    return `{"type":"sale","saleId":"${this.saleId}","serverTime":"${serverTime}",${this.#state}}`;
  }
}

function statusOf(view: SaleView): SaleStatus {
  return effectiveStatus(view.state.definition, redisNowMs(view));
}

/** What a message says besides the time, as the inside of a JSON object: equal while nothing has changed. */
function stateOf(view: SaleView, status: SaleStatus): string {
  const skus = view.state.stock.map((counts) => {
    const remaining = availableOf(counts);
    return { sku: counts.sku, remaining, soldOut: remaining <= 0 };
  });
  return JSON.stringify({ status, skus }).slice(1, -1);
}
