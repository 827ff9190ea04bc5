/**
 * One sale with the clients that watch it live. All clients get the changes of the sale. Clients with a token also get
 * their buyer's reservations, whichever process changed them, and ranks on waitlists.
 */
import type { Logger } from 'pino';
import { buyerOfEventLine, parseEvent } from '../../domain/reservation-codec.ts';
import { availableOf, effectiveStatus, type SaleStatus } from '../../domain/sale.ts';
import { splitEntry } from '../../domain/short-record.ts';
import type { Shards } from '../../redis/shards.ts';
import type { Subscription } from '../sales/channel-subscriber.ts';
import { type SaleView, shownTimeMs } from '../sales/sale-views.ts';
import type { LiveClient } from './client.ts';
import type { ResyncQueue } from './resync-queue.ts';
import { WaitlistRanks } from './waitlist-ranks.ts';

export interface RoomContext {
  shards: Shards;
  resyncs: ResyncQueue;
  /** Sends to all clients that are subscribed to a topic of `topicOf`. */
  publish: (topic: string, text: string) => void;
  log: Logger;
}

/** Clients that get messages about the sale at the same time. */
interface Group {
  size: number;
  /** The state last sent, without the time, and whether the sale had started. */
  sentState: string;
}

export function topicOf(saleId: string, group: number): string {
  return `${saleId}/${group}`;
}

export class Room {
  readonly saleId: string;
  /** To the events of reservations, while a client sent a token. */
  events: Subscription | undefined;
  readonly #context: RoomContext;
  readonly #ranks: WaitlistRanks;
  readonly #clients = new Set<LiveClient>();
  readonly #byBuyer = new Map<string, Set<LiveClient>>();
  readonly #groups = new Map<number, Group>();
  #view: SaleView;
  #status: SaleStatus;
  #hasStarted: boolean;
  #state: string;

  constructor(view: SaleView, context: RoomContext) {
    this.saleId = view.state.definition.saleId;
    this.#context = context;
    this.#ranks = new WaitlistRanks(
      {
        saleId: this.saleId,
        clients: this.#byBuyer,
        onLeft: (client) => context.resyncs.add(client),
      },
      context.shards,
      context.log,
    );
    this.#view = view;
    this.#status = statusOf(view);
    this.#hasStarted = hasStarted(view);
    this.#state = stateOf(view, this.#status);
  }

  get clients(): Iterable<LiveClient> {
    return this.#clients;
  }

  get isEmpty(): boolean {
    return this.#clients.size === 0;
  }

  /** True: at least one client sent a token. */
  get hasBuyers(): boolean {
    return this.#byBuyer.size > 0;
  }

  /** Takes the newest view. The same view can show another status, or the start, because its clock advances. */
  update(view: SaleView): void {
    const status = statusOf(view);
    // The estimate of Redis' clock may go back a little from one view to the next; a start is told once.
    const isStarted = hasStarted(view) || (this.#hasStarted && isSameStart(view, this.#view));
    if (view === this.#view && status === this.#status && isStarted === this.#hasStarted) return;
    this.#view = view;
    this.#status = status;
    this.#hasStarted = isStarted;
    this.#state = stateOf(view, status);
  }

  /** Adds a client and sends it the current state of the sale. */
  add(client: LiveClient): void {
    this.#clients.add(client);
    const group = this.#groups.get(client.group);
    if (group) group.size++;
    else this.#groups.set(client.group, { size: 1, sentState: this.#newest });
    client.send(this.#message());
    if (client.buyerId === undefined) return;
    const clients = this.#byBuyer.get(client.buyerId);
    if (clients) clients.add(client);
    else this.#byBuyer.set(client.buyerId, new Set([client]));
  }

  remove(client: LiveClient): void {
    this.#clients.delete(client);
    const group = this.#groups.get(client.group);
    if (group && --group.size === 0) this.#groups.delete(client.group);
    if (client.buyerId === undefined) return;
    const clients = this.#byBuyer.get(client.buyerId);
    clients?.delete(client);
    if (clients?.size === 0) this.#byBuyer.delete(client.buyerId);
  }

  /** Sends the state of the sale to a group if it has changed since the last message. */
  broadcastTo(index: number): void {
    const group = this.#groups.get(index);
    if (!group || group.sentState === this.#newest) return;
    group.sentState = this.#newest;
    this.#context.publish(topicOf(this.saleId, index), this.#message());
  }

  updateRanks(): void {
    if (this.hasBuyers) this.#ranks.update(this.#view);
  }

  /** Reads the state of all connected buyers again. */
  resyncBuyers(): void {
    for (const clients of this.#byBuyer.values()) {
      for (const client of clients) this.#context.resyncs.add(client);
    }
  }

  /** Handles events of the sale. Most concern no connected buyer, so only the others are parsed. */
  receive(text: string): void {
    const { lines, batch } = splitEntry(text);
    for (const line of lines) {
      const clients = this.#byBuyer.get(buyerOfEventLine(line));
      if (clients) this.#tell(clients, () => line);
    }
    if (!batch) return;
    for (const place of batch.lines.keys()) {
      const clients = this.#byBuyer.get(batch.buyerOf(place));
      if (clients) this.#tell(clients, () => batch.wholeLineOf(place));
    }
  }

  #tell(clients: ReadonlySet<LiveClient>, lineOf: () => string): void {
    if (this.#context.shards.waitsForReplicas) {
      // The event precedes the acknowledgement of the replicas; reading the buyer's records waits for it.
      for (const client of clients) this.#context.resyncs.add(client);
      return;
    }
    const { currency } = this.#view.state.definition;
    try {
      const reservation = parseEvent(lineOf(), { saleId: this.saleId, currency });
      for (const client of clients) client.sendReservation(reservation, true);
    } catch (error) {
      // Possibly an event of a newer version: read the buyer's records instead.
      this.#context.log.warn({ saleId: this.saleId, err: error }, 'event not parsed');
      for (const client of clients) this.#context.resyncs.add(client);
    }
  }

  get #newest(): string {
    return `${this.#hasStarted} ${this.#state}`;
  }

  #message(): string {
    const serverTime = new Date(shownTimeMs(this.#view)).toISOString();
    return `{"type":"sale","saleId":"${this.saleId}","serverTime":"${serverTime}",${this.#state}}`;
  }
}

function statusOf(view: SaleView): SaleStatus {
  return effectiveStatus(view.state.definition, shownTimeMs(view));
}

/** A message without its time, as the inner text of a JSON object; equal while nothing has changed. */
function stateOf(view: SaleView, status: SaleStatus): string {
  const skus = view.state.stock.map((counts) => {
    const remaining = availableOf(counts);
    return { sku: counts.sku, remaining, soldOut: remaining <= 0 };
  });
  const { startsAt, endsAt } = view.state.definition;
  const times = { startsAt: isoOrNull(startsAt), endsAt: isoOrNull(endsAt) };
  return JSON.stringify({ status, ...times, skus }).slice(1, -1);
}

function hasStarted(view: SaleView): boolean {
  const { startsAt } = view.state.definition;
  return startsAt === null || shownTimeMs(view) >= startsAt;
}

function isSameStart(a: SaleView, b: SaleView): boolean {
  return a.state.definition.startsAt === b.state.definition.startsAt;
}

function isoOrNull(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}
