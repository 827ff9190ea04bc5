/**
 * Refuses buyers with "sold out" without a call to Redis. A sold-out SKU is not available to new buyers until units
 * return, so a buyer without a reservation in the sale can be refused here. The purchase of a buyer who has or may have
 * a reservation goes to Redis, because a repeated request must return that reservation.
 *
 * From the first purchase on, this process hears the winners that all hot paths announce, so that it knows the buyers with
 * reservations (the holders) before the sell-out. After the first "sold out" from Redis, it reads the holders that it did
 * not hear of from the sale's order. It refuses only while a view of at most 250 ms shows the SKU as sold out, and no
 * more reservations than it knows. Publish/subscribe reports units that may have returned, and invalidates the view
 * immediately. If such a message is lost, this module refuses for at most those 250 ms too long.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { memoizeLast } from '../../domain/memoize-last.ts';
import { ordinalOf } from '../../domain/positions.ts';
import { eventLinesMatcher } from '../../domain/reservation-codec.ts';
import { effectiveStatus } from '../../domain/sale.ts';
import {
  fingerprintOf,
  ORDINAL_MAX,
  parseAnnouncement,
  type WinnerRun,
} from '../../domain/winner-announcement.ts';
import type { OrderPlace, ReserveOutcome } from '../../lua/buy/reserve.ts';
import { liveChannel, winnersChannel } from '../../lua/keys.ts';
import { readOrder } from '../../lua/read/read-order.ts';
import type { Shards } from '../../redis/shards.ts';
import type { HashedBuyer } from '../admission/hashed-name.ts';
import type { PreparedResponse } from '../http/responses.ts';
import { ChannelSubscriber, type Subscription } from './channel-subscriber.ts';
import { Holders } from './holders.ts';
import { redisNowMs, type SaleView, VIEW_AGE_MS_MAX } from './sale-views.ts';
import { isLeft, soldOutRefusalOf } from './sold-out-refusal.ts';
import { WinnerAnnouncer } from './winner-announcer.ts';

/** A page takes Redis about a millisecond. The sooner all are read, the sooner Redis is rid of the refusals. */
const PAGE_SIZE = 5_000;
/** Buyers are served between two pages. */
const PAUSE_MS = 1;
/** Holders that are unknown for as long are read. Announcements of the last winners have arrived by then, as a rule. */
const UNKNOWN_MS = 60;
/** Over all sales; 8 to 16 bytes each. Above this limit Redis refuses the buyers. */
const HOLDERS_MAX = 4_000_000;
/** Sales whose winners are heard before the sell-out. The holders of further sales are read after it. */
const HEARD_MAX = 1_000;
/** The holders of a sale without purchases for this long are dropped. */
const IDLE_MS = 10_000;

/** Events that may return units: cancelled or expired (see domain/reservation-codec.ts). */
const RETURNING = eventLinesMatcher('XE');
/** If no SKU has units left, a new reservation also shows that units had returned. */
const RETURNING_OR_NEW = eventLinesMatcher('RXE');

interface Sale {
  saleId: string;
  holders: Holders;
  winners: Subscription;
  isReading: boolean;
  /** Since when no more entries at the start of the order are known. */
  stuckSince: number;
  /** To returning units, since the first "sold out" from Redis. */
  events: Subscription | undefined;
  /** Older views are invalid: units may have returned since. */
  changedAt: number;
  usedAt: number;
  view: SaleView | undefined;
  /** Measured: 45 ns for the last items and view, against 750 ns. */
  refusalOf: typeof soldOutRefusalOf;
}

export class SoldOut {
  /** Buyers refused so far. */
  refusals = 0;
  readonly #shards: Shards;
  readonly #views: { changed(saleId: string): void };
  readonly #log: Logger;
  readonly #bySale = new Map<string, Sale>();
  readonly #channels: ChannelSubscriber;
  readonly #announcer: WinnerAnnouncer;
  /** Of all sales. */
  #holders = 0;
  readonly #timer = setInterval(() => this.#dropIdle(), IDLE_MS / 2);

  constructor(shards: Shards, views: { changed(saleId: string): void }, log: Logger) {
    this.#shards = shards;
    this.#views = views;
    this.#log = log;
    this.#channels = new ChannelSubscriber(() => shards.listener('sold-out'));
    this.#announcer = new WinnerAnnouncer((saleId, message) =>
      shards.publishWinners(saleId, message),
    );
  }

  /** Redis has decided a batch: learns and announces its winners. */
  decided(
    saleId: string,
    batch: readonly { readonly fingerprint: number }[],
    outcomes: readonly ReserveOutcome[],
  ): void {
    const winners = new Int32Array(batch.length);
    let count = 0;
    let place: OrderPlace | undefined;
    let isSoldOut = false;
    for (let i = 0; i < outcomes.length; i++) {
      const result = outcomes[i]!;
      if (result.outcome === 'reserved') {
        place ??= result.firstPlace;
        winners[count++] = batch[i]!.fingerprint;
      } else if (result.outcome === 'sold_out') isSoldOut = true;
    }
    if (place && place.ordinal <= ORDINAL_MAX) {
      const { timeline, ordinal } = place;
      const run = { ordinal, fingerprints: winners.subarray(0, count) };
      const sale = this.#bySale.get(saleId);
      if (sale) this.#hear(sale, timeline, [run]);
      this.#announcer.add(saleId, timeline, run);
    }
    if (!isSoldOut) return;
    this.#announcer.flush(saleId);
    this.#track(saleId);
  }

  /** Redis refused a buyer with "sold out": from now on this process refuses buyers of the sale by itself. */
  #track(saleId: string): void {
    const sale = this.#bySale.get(saleId) ?? this.#add(saleId);
    sale.events ??= this.#channels.subscribe(liveChannel(saleId), {
      subscribed: () => {
        sale.changedAt = performance.now();
        // The next view is valid, and every buyer before it costs a call.
        this.#views.changed(saleId);
      },
      received: (lines) => {
        const isAnythingLeft = sale.view?.state.stock.some(isLeft);
        const pattern = isAnythingLeft === true ? RETURNING : RETURNING_OR_NEW;
        if (pattern.test(lines.toString())) sale.changedAt = performance.now();
      },
    });
  }

  /** Units of this sale may have returned. */
  invalidate(saleId: string): void {
    const sale = this.#bySale.get(saleId);
    if (sale) sale.changedAt = performance.now();
  }

  /** The response, if this purchase can be refused with "sold out" without a call to Redis. */
  refusalOf(
    view: SaleView,
    buyer: HashedBuyer,
    items: string,
    nowMs: number,
  ): PreparedResponse | undefined {
    const sale = this.#bySale.get(view.state.definition.saleId) ?? this.#addIfSelling(view, nowMs);
    if (sale === undefined) return undefined;
    sale.usedAt = nowMs;
    const isCurrent =
      sale.events?.isActive === true &&
      nowMs - view.readAt <= VIEW_AGE_MS_MAX &&
      view.readAt > sale.changedAt;
    if (!isCurrent) return undefined;
    sale.view = view;
    const refusal = sale.refusalOf(view, items, nowMs);
    if (!refusal) return undefined;
    if (!sale.holders.areComplete(view.state.timeline, reservationsIn(view))) {
      if (nowMs - sale.stuckSince >= UNKNOWN_MS) void this.#read(sale, view);
      return undefined;
    }
    if (sale.holders.has(buyer.fingerprint)) return undefined;
    this.refusals++;
    return refusal;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#announcer.close();
    this.#channels.close();
    this.#bySale.clear();
  }

  /** Listens to the winners from the first purchase on, if the sale sells or may do so later. */
  #addIfSelling(view: SaleView, nowMs: number): Sale | undefined {
    const { definition } = view.state;
    const status = effectiveStatus(definition, redisNowMs(view, nowMs));
    const canSell = status === 'open' || status === 'paused';
    if (!canSell || this.#bySale.size >= HEARD_MAX) return undefined;
    return this.#add(definition.saleId);
  }

  #add(saleId: string): Sale {
    const sale: Sale = {
      saleId,
      holders: new Holders(),
      winners: this.#channels.subscribe(winnersChannel(saleId), {
        // Winners that were missed stay unknown until they are read.
        subscribed: () => undefined,
        received: (message) => {
          const announced = parseAnnouncement(message, this.#announcer.sender);
          if (announced) this.#hear(sale, announced.timeline, announced.runs);
        },
      }),
      isReading: false,
      stuckSince: performance.now(),
      events: undefined,
      changedAt: performance.now(),
      usedAt: performance.now(),
      view: undefined,
      refusalOf: memoizeLast(soldOutRefusalOf),
    };
    this.#bySale.set(saleId, sale);
    return sale;
  }

  #hear(sale: Sale, timeline: number, runs: readonly WinnerRun[]): void {
    if (this.#holders >= HOLDERS_MAX) return;
    this.#learn(sale, () => {
      for (const run of runs) sale.holders.add(timeline, run.ordinal, run.fingerprints);
    });
  }

  async #read(sale: Sale, view: SaleView): Promise<void> {
    if (sale.isReading) return;
    sale.isReading = true;
    const { saleId, holders } = sale;
    try {
      const count = reservationsIn(view);
      while (!holders.areComplete(view.state.timeline, count)) {
        if (!this.#hasRoom()) return;
        const { skip, most } = holders.nextUnknown(view.state.timeline, count, PAGE_SIZE);
        const reply = await this.#shards.call(readOrder, saleId, skip, most);
        if (reply.outcome !== 'known' || this.#bySale.get(saleId) !== sale) return;
        const { timeline, buyerIds } = reply;
        const isSame = timeline === holders.timeline;
        const fingerprints = Int32Array.from(buyerIds, fingerprintOf);
        this.#learn(sale, () => holders.add(timeline, skip, fingerprints));
        // The view is not of this timeline, or the order is shorter than the view says.
        if (timeline !== view.state.timeline || (isSame && buyerIds.length === 0)) return;
        await sleep(PAUSE_MS);
      }
    } catch (error) {
      // The next purchase starts another attempt; until it succeeds, Redis refuses the buyers.
      this.#log.debug({ saleId, err: error }, 'holders not read');
    } finally {
      sale.isReading = false;
    }
  }

  #learn(sale: Sale, learn: () => void): void {
    const { size, knownFromStart } = sale.holders;
    learn();
    this.#holders += sale.holders.size - size;
    if (sale.holders.knownFromStart !== knownFromStart) sale.stuckSince = performance.now();
  }

  /** Holders of a sale that is not sold out make room: they are read again if it sells out. */
  #hasRoom(): boolean {
    if (this.#holders >= HOLDERS_MAX) {
      for (const sale of this.#bySale.values()) {
        if (!sale.events) this.#learn(sale, () => sale.holders.forget());
      }
    }
    return this.#holders < HOLDERS_MAX;
  }

  #dropIdle(): void {
    const oldest = performance.now() - IDLE_MS;
    for (const [saleId, { usedAt, holders, winners, events }] of this.#bySale) {
      if (usedAt > oldest) continue;
      this.#bySale.delete(saleId);
      this.#holders -= holders.size;
      this.#channels.unsubscribe(winners);
      if (events) this.#channels.unsubscribe(events);
    }
  }
}

/** The number of reservations in the order. */
function reservationsIn({ state }: SaleView): number {
  return ordinalOf(state.position, state.gaps);
}
