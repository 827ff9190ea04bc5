/**
 * Who hears "sold out" without a call to Redis. While nothing returns, nobody new can get anything of a SKU that is
 * sold out; so whoever has nothing in the sale can be refused here, and whoever has something, or may have, is left
 * to Redis: a winner who asks again must see the reservation.
 *
 * Who has something is read from the sale's order, part by part, once Redis has said "sold out". It counts only as
 * long as a reading of the sale that is at most 250 ms old says that the SKU is sold out and that the order has not
 * grown. Every word of something that returned, or might have, is heard over publish/subscribe and makes that
 * reading too old at once; where such a word is lost, "sold out" is at most those 250 ms late.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { placeOf } from '../../domain/positions.ts';
import { eventLinesMatcher } from '../../domain/reservation-codec.ts';
import { availableOf, effectiveStatus } from '../../domain/sale.ts';
import { readOrder } from '../../lua/read/read-order.ts';
import type { Shards } from '../../redis/shards.ts';
import { type HashedName, hashName } from '../admission/hashed-name.ts';
import { EventSubscriber } from '../live/event-subscriber.ts';
import { MembershipFilter } from './membership-filter.ts';
import { type SaleView, VIEW_AGE_MS_MAX } from './sale-views.ts';

/** Redis is busiest when a sale sells out: it is asked for a little at a time, 200,000 buyers a second. */
const PART = 1_000;
const PAUSE_MS = 5;
/** Over all sales; 4 to 16 bytes each. Beyond, Redis refuses. */
const HOLDERS_MAX = 4_000_000;
/** A sale of which nobody wanted anything for so long is forgotten. */
const IDLE_MS = 10_000;

/** Lines of history by which units may have come back: cancelled or expired, see domain/reservation-codec.ts. */
const RETURNED = eventLinesMatcher('XE');
/** The same where nothing is left of any SKU: then a new reservation says that something had come back. */
const RETURNED_OR_GIVEN = eventLinesMatcher('RXE');

/** What is known of one sale's order: its first `count` places. */
interface Holders {
  timeline: number;
  count: number;
  buyers: MembershipFilter;
}

interface Snapshot {
  holders: Holders;
  isReading: boolean;
  /** Readings of the sale that are older say nothing: something may have returned since. */
  changedAt: number;
  usedAt: number;
  /** The last question about a basket and its answer: nearly everybody asks for the same. */
  judged: { view: SaleView | undefined; items: string; isSoldOut: boolean };
}

export class SoldOut {
  /** Given so far. */
  refusals = 0;
  readonly #shards: Shards;
  readonly #log: Logger;
  readonly #bySale = new Map<string, Snapshot>();
  readonly #channel: EventSubscriber;
  readonly #timer: NodeJS.Timeout;

  constructor(shards: Shards, log: Logger) {
    this.#shards = shards;
    this.#log = log;
    this.#channel = new EventSubscriber(() => shards.listener('sold-out'), {
      heard: (saleId) => this.changed(saleId),
      happened: (saleId, lines) => {
        const isAnythingLeft = this.#bySale.get(saleId)?.judged.view?.state.stock.some(isLeft);
        const sign = isAnythingLeft === true ? RETURNED : RETURNED_OR_GIVEN;
        if (sign.test(lines)) this.changed(saleId);
      },
    });
    this.#timer = setInterval(() => this.#dropIdle(), IDLE_MS / 2);
  }

  /** Redis has just refused somebody: from now on it is worth knowing who has something. */
  noticed(saleId: string): void {
    if (this.#bySale.has(saleId)) return;
    this.#bySale.set(saleId, {
      holders: nobody(0),
      isReading: false,
      changedAt: performance.now(),
      usedAt: performance.now(),
      judged: { view: undefined, items: '', isSoldOut: false },
    });
    this.#channel.want(saleId);
  }

  /** Something of this sale may have returned. */
  changed(saleId: string): void {
    const snapshot = this.#bySale.get(saleId);
    if (snapshot) snapshot.changedAt = performance.now();
  }

  /** Whether this buyer can be told so here and now. */
  refuses(view: SaleView, buyer: HashedName, items: string, nowMs: number): boolean {
    const { saleId } = view.state.definition;
    const snapshot = this.#bySale.get(saleId);
    if (snapshot === undefined) return false;
    snapshot.usedAt = nowMs;
    const isCurrent =
      nowMs - view.readAt <= VIEW_AGE_MS_MAX &&
      view.readAt > snapshot.changedAt &&
      this.#channel.isHeard(saleId);
    if (!isCurrent || !this.#isSoldOut(snapshot, view, items, nowMs)) return false;
    if (!knowsAll(snapshot.holders, view)) {
      void this.#read(saleId, snapshot, view);
      return false;
    }
    if (snapshot.holders.buyers.has(buyer)) return false;
    this.refusals++;
    return true;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#channel.close();
    this.#bySale.clear();
  }

  #isSoldOut(snapshot: Snapshot, view: SaleView, items: string, nowMs: number): boolean {
    const { judged } = snapshot;
    if (judged.view !== view || judged.items !== items) {
      snapshot.judged = { view, items, isSoldOut: isSoldOut(view, items, nowMs) };
    }
    return snapshot.judged.isSoldOut;
  }

  async #read(saleId: string, snapshot: Snapshot, view: SaleView): Promise<void> {
    if (snapshot.isReading) return;
    snapshot.isReading = true;
    try {
      while (this.#bySale.get(saleId) === snapshot && !knowsAll(snapshot.holders, view)) {
        if (this.#holders() >= HOLDERS_MAX) return;
        const { count } = snapshot.holders;
        const reply = await this.#shards.call(readOrder, saleId, count, PART);
        if (reply.outcome !== 'known') return;
        if (reply.timeline !== snapshot.holders.timeline) {
          // Its places are others, so what was read is of no use, these included.
          snapshot.holders = nobody(reply.timeline);
          if (reply.timeline !== view.state.timeline) return;
          continue;
        }
        if (reply.buyerIds.length === 0) return;
        for (const buyerId of reply.buyerIds) snapshot.holders.buyers.add(hashName(buyerId));
        snapshot.holders.count += reply.buyerIds.length;
        await sleep(PAUSE_MS);
      }
    } catch (error) {
      // Whoever asks next has it tried again, and Redis refuses until then.
      this.#log.debug({ saleId, err: error }, 'who has something could not be read');
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
      this.#channel.drop(saleId);
    }
  }
}

function nobody(timeline: number): Holders {
  return { timeline, count: 0, buyers: new MembershipFilter() };
}

function knowsAll(holders: Holders, { state }: SaleView): boolean {
  return (
    holders.timeline === state.timeline && holders.count >= placeOf(state.position, state.gaps)
  );
}

const isLeft = (stock: { remaining: number; waiting: number }): boolean => availableOf(stock) > 0;

/** As reserve.lua decides it for a buyer who has nothing yet; false where it would say something else first. */
function isSoldOut(
  { state, isRecovering, readAt }: SaleView,
  items: string,
  nowMs: number,
): boolean {
  const { definition, stock } = state;
  const redisNowMs = state.nowMs + (nowMs - readAt);
  const isOpen =
    !isRecovering &&
    effectiveStatus(definition, redisNowMs) === 'open' &&
    (definition.startsAt === null || redisNowMs >= definition.startsAt);
  if (!isOpen) return false;
  let units = 0;
  let isAnyGone = false;
  for (const item of items.split(',')) {
    const [sku, quantity] = item.split('*');
    const counts = stock.find((each) => each.sku === sku);
    if (!counts) return false;
    units += Number(quantity);
    isAnyGone ||= !isLeft(counts);
  }
  return isAnyGone && units <= definition.perBuyerLimit;
}
