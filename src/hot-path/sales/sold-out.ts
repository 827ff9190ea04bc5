/**
 * Refuses buyers with "sold out" without a call to Redis. A sold-out SKU is not available to new buyers until units
 * return, so a buyer without a reservation in the sale can be refused here. The purchase of a buyer who has or may have
 * a reservation goes to Redis, because a repeated request must return that reservation.
 *
 * After the first "sold out" from Redis, this module reads the sale's order page by page: the buyers with reservations
 * (the holders). It refuses only while a view of at most 250 ms shows the SKU as sold out and the order as unchanged.
 * Publish/subscribe reports units that may have returned, and invalidates the view immediately. If such a message is
 * lost, this module refuses for at most those 250 ms too long.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { memoizeLast } from '../../domain/memoize-last.ts';
import { ordinalOf } from '../../domain/positions.ts';
import { eventLinesMatcher } from '../../domain/reservation-codec.ts';
import { availableOf, effectiveStatus, type SkuStock } from '../../domain/sale.ts';
import { readOrder } from '../../lua/read/read-order.ts';
import type { Shards } from '../../redis/shards.ts';
import { type HashedName, hashName } from '../admission/hashed-name.ts';
import type { PreparedResponse } from '../http/responses.ts';
import { EventSubscriber } from './event-subscriber.ts';
import { MembershipFilter } from './membership-filter.ts';
import { shortageResponse } from './refusal-responses.ts';
import { hasDueHolds, type SaleView, VIEW_AGE_MS_MAX } from './sale-views.ts';

/** A page takes Redis about a millisecond. The sooner all are read, the sooner Redis is rid of the refusals. */
const PAGE_SIZE = 5_000;
/** Buyers are served between two pages. */
const PAUSE_MS = 1;
/** Over all sales; 4 to 16 bytes each. Above this limit Redis refuses the buyers. */
const HOLDERS_MAX = 4_000_000;
/** The holders of a sale without purchases for this long are dropped. */
const IDLE_MS = 10_000;

/** Events that may return units: cancelled or expired (see domain/reservation-codec.ts). */
const RETURNING = eventLinesMatcher('XE');
/** If no SKU has units left, a new reservation also shows that units had returned. */
const RETURNING_OR_NEW = eventLinesMatcher('RXE');

/** The buyers at the first `count` entries of a sale's order. */
interface Holders {
  timeline: number;
  count: number;
  buyers: MembershipFilter;
}

interface Snapshot {
  holders: Holders;
  isReading: boolean;
  /** Older views are invalid: units may have returned since. */
  changedAt: number;
  usedAt: number;
  view: SaleView | undefined;
  /** Measured: 45 ns for the last items and view, against 750 ns. */
  refusalOf: typeof refusalOf;
}

export class SoldOut {
  /** Buyers refused so far. */
  refusals = 0;
  readonly #shards: Shards;
  readonly #log: Logger;
  readonly #bySale = new Map<string, Snapshot>();
  readonly #events: EventSubscriber;
  readonly #timer = setInterval(() => this.#dropIdle(), IDLE_MS / 2);

  constructor(shards: Shards, log: Logger) {
    this.#shards = shards;
    this.#log = log;
    this.#events = new EventSubscriber(() => shards.listener('sold-out'), {
      subscribed: (saleId) => this.invalidate(saleId),
      received: (saleId, lines) => {
        const isAnythingLeft = this.#bySale.get(saleId)?.view?.state.stock.some(isLeft);
        const pattern = isAnythingLeft === true ? RETURNING : RETURNING_OR_NEW;
        if (pattern.test(lines)) this.invalidate(saleId);
      },
    });
  }

  /** Redis refused a buyer with "sold out": from now on this process tracks the holders of the sale. */
  track(saleId: string): void {
    if (this.#bySale.has(saleId)) return;
    this.#bySale.set(saleId, {
      holders: noHolders(0),
      isReading: false,
      changedAt: performance.now(),
      usedAt: performance.now(),
      view: undefined,
      refusalOf: memoizeLast(refusalOf),
    });
    this.#events.subscribe(saleId);
  }

  /** Units of this sale may have returned. */
  invalidate(saleId: string): void {
    const snapshot = this.#bySale.get(saleId);
    if (snapshot) snapshot.changedAt = performance.now();
  }

  /** The response, if this purchase can be refused with "sold out" without a call to Redis. */
  refusalOf(
    view: SaleView,
    buyer: HashedName,
    items: string,
    nowMs: number,
  ): PreparedResponse | undefined {
    const { saleId } = view.state.definition;
    const snapshot = this.#bySale.get(saleId);
    if (snapshot === undefined) return undefined;
    snapshot.usedAt = nowMs;
    const isCurrent =
      nowMs - view.readAt <= VIEW_AGE_MS_MAX &&
      view.readAt > snapshot.changedAt &&
      this.#events.isSubscribed(saleId);
    if (!isCurrent) return undefined;
    snapshot.view = view;
    const refusal = snapshot.refusalOf(view, items, nowMs);
    if (!refusal) return undefined;
    if (!areComplete(snapshot.holders, view)) {
      void this.#read(saleId, snapshot, view);
      return undefined;
    }
    if (snapshot.holders.buyers.has(buyer)) return undefined;
    this.refusals++;
    return refusal;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#events.close();
    this.#bySale.clear();
  }

  async #read(saleId: string, snapshot: Snapshot, view: SaleView): Promise<void> {
    if (snapshot.isReading) return;
    snapshot.isReading = true;
    try {
      while (this.#bySale.get(saleId) === snapshot && !areComplete(snapshot.holders, view)) {
        if (this.#holders() >= HOLDERS_MAX) return;
        const { count } = snapshot.holders;
        const reply = await this.#shards.call(readOrder, saleId, count, PAGE_SIZE);
        if (reply.outcome !== 'known') return;
        if (reply.timeline !== snapshot.holders.timeline) {
          // Positions of another timeline: everything read so far is invalid, this page included.
          snapshot.holders = noHolders(reply.timeline);
          if (reply.timeline !== view.state.timeline) return;
          continue;
        }
        if (reply.buyerIds.length === 0) return;
        for (const buyerId of reply.buyerIds) snapshot.holders.buyers.add(hashName(buyerId));
        snapshot.holders.count += reply.buyerIds.length;
        await sleep(PAUSE_MS);
      }
    } catch (error) {
      // The next purchase starts another attempt; until it succeeds, Redis refuses the buyers.
      this.#log.debug({ saleId, err: error }, 'holders not read');
    } finally {
      snapshot.isReading = false;
    }
  }

  #holders(): number {
    let count = 0;
    for (const { holders } of this.#bySale.values()) count += holders.count;
    return count;
  }

  #dropIdle(): void {
    const oldest = performance.now() - IDLE_MS;
    for (const [saleId, { usedAt }] of this.#bySale) {
      if (usedAt > oldest) continue;
      this.#bySale.delete(saleId);
      this.#events.unsubscribe(saleId);
    }
  }
}

function noHolders(timeline: number): Holders {
  return { timeline, count: 0, buyers: new MembershipFilter() };
}

function areComplete(holders: Holders, { state }: SaleView): boolean {
  return (
    holders.timeline === state.timeline && holders.count >= ordinalOf(state.position, state.gaps)
  );
}

const isLeft = (stock: SkuStock): boolean => availableOf(stock) > 0;

/** Decides as reserve.lua does for a buyer without reservations; undefined if the script would return another outcome. */
function refusalOf(
  { state, isRecovering, readAt }: SaleView,
  items: string,
  nowMs: number,
): PreparedResponse | undefined {
  const { definition, stock } = state;
  const redisNowMs = state.nowMs + (nowMs - readAt);
  const isOpen =
    !isRecovering &&
    effectiveStatus(definition, redisNowMs) === 'open' &&
    (definition.startsAt === null || redisNowMs >= definition.startsAt);
  // A due hold may free units at any moment.
  if (!isOpen || hasDueHolds(state, redisNowMs)) return undefined;
  let units = 0;
  let isAnySoldOut = false;
  let available = '';
  for (const item of items.split(',')) {
    const [sku, quantity] = item.split('*');
    // The SKUs of the definition and of the stock are in the same order.
    const index = stock.findIndex((each) => each.sku === sku);
    const counts = stock[index];
    if (!counts) return undefined;
    const limit = definition.skus[index]?.perBuyerLimit;
    if (limit !== undefined && Number(quantity) > limit) return undefined;
    units += Number(quantity);
    isAnySoldOut ||= !isLeft(counts);
    available += `${available === '' ? '' : ','}${availableOf(counts)}`;
  }
  if (!isAnySoldOut || units > definition.perBuyerLimit) return undefined;
  return shortageResponse('sold_out', items, available);
}
