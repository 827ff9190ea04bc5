/**
 * A buyer, and the shop's back end that takes the payment. The buyer's own random sequence draws what the buyer does,
 * so it is the same in every run of a seed, despite any failures.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../harness/random.ts';
import type { Item, PublicReservation } from '../../src/domain/reservation.ts';
import type { Client } from './client.ts';
import { type Exchange, reservationsIn } from './history.ts';

const LOOKS_WHILE_WAITING = 5;
/** Some more than lead to a cool-down, because purchases may be refused for other reasons. */
const LOOP_ROUNDS_MAX = 60;
/** More than the operator's longest pause needs, also when a recovery delays `resume`: buyers should end with a unit. */
const TRIES_WHILE_PAUSED = 60;

export class Buyer {
  readonly #buyerId: string;
  readonly #client: Client;
  readonly #settled = new Set<string>();
  readonly #random: Random;
  readonly #skus: readonly string[];

  constructor(buyerId: string, client: Client, random: Random, skus: readonly string[]) {
    this.#buyerId = buyerId;
    this.#client = client;
    this.#random = random;
    this.#skus = skus;
  }

  /** Arrives, buys once or twice, and handles the reservations. */
  async shop(arrivesAfterMs: number): Promise<void> {
    const random = this.#random;
    await sleep(arrivesAfterMs);
    const purchases = random.chance(0.25) ? 2 : 1;
    for (let purchase = 1; purchase <= purchases; purchase++) {
      const items = this.#drawItems();
      const key = random.chance(0.5) ? `cart-${purchase}` : undefined;
      const exchange = await this.#press(key, items);
      if (!exchange) return;
      const [reservation] = reservationsIn(exchange);
      if (reservation) await this.#settle(reservation);
      else if (exchange.response?.code === 'sold_out' && random.chance(0.35))
        await this.#wait(items);
    }
    if (random.chance(0.3)) await this.#sendUntilSettled({ kind: 'me', buyerId: this.#buyerId });
  }

  /** Holds and releases units in a loop until that is refused; then every other way to units must be refused, too. */
  async holdInLoop(arrivesAfterMs: number): Promise<void> {
    const random = this.#random;
    const buyerId = this.#buyerId;
    const item = { sku: this.#skus.at(-1)!, quantity: 1 };
    await sleep(arrivesAfterMs);
    for (let round = 1; round <= LOOP_ROUNDS_MAX; round++) {
      const exchange = await this.#press(`loop-${round}`, [item]);
      if (!exchange || exchange.response?.code === 'too_many_holds') break;
      const [reservation] = reservationsIn(exchange);
      if (!reservation) await sleep(random.between(50, 150));
      else
        await this.#sendUntilSettled({
          kind: 'release',
          buyerId,
          reservationId: reservation.reservationId,
        });
    }
    await this.#press('after', [item]);
    await this.#sendUntilSettled({ kind: 'join', buyerId, ...item });
    await this.#sendUntilSettled({ kind: 'me', buyerId });
    await this.#sendUntilSettled({ kind: 'leave', buyerId });
  }

  /** Mostly the first SKU, which is scarce; sometimes several units, or a basket. */
  #drawItems(): Item[] {
    const random = this.#random;
    const [scarce, ...others] = this.#skus as [string, ...string[]];
    if (random.chance(0.2)) {
      return [
        { sku: scarce, quantity: 1 },
        { sku: random.pick(others), quantity: random.between(1, 2) },
      ];
    }
    const sku = random.chance(0.6) ? scarce : random.pick(others);
    return [{ sku, quantity: random.chance(0.2) ? 2 : 1 }];
  }

  async #press(key: string | undefined, items: Item[]): Promise<Exchange | undefined> {
    const random = this.#random;
    const request = { kind: 'buy', buyerId: this.#buyerId, key, items } as const;
    let exchange = await this.#sendUntilSettled(request);
    for (let i = 0; i < TRIES_WHILE_PAUSED && exchange?.response?.code === 'sale_paused'; i++) {
      await sleep(random.between(100, 400));
      exchange = await this.#sendUntilSettled(request);
    }
    // A repeated request must change nothing.
    return random.chance(0.25) ? ((await this.#sendUntilSettled(request)) ?? exchange) : exchange;
  }

  /** Pays, cancels, or does nothing. */
  async #settle({ reservationId, items }: PublicReservation): Promise<void> {
    const random = this.#random;
    const buyerId = this.#buyerId;
    await sleep(random.between(0, 600));
    const isDivisible = items.length > 1 || items[0]!.quantity > 1;
    if (isDivisible && !this.#settled.has(reservationId) && random.chance(0.4)) {
      await this.#cancelPart(reservationId, items.at(-1)!.sku);
    }
    // A purchase without a key returns the same reservation again, of which another part may be too much.
    this.#settled.add(reservationId);
    const fate = random.next();
    if (fate < 0.4) {
      await this.#pay(reservationId);
    } else if (fate < 0.5) {
      await this.#sendUntilSettled({ kind: 'extend', reservationId });
      await sleep(random.between(0, 1_500));
      await this.#sendUntilSettled({ kind: 'confirm', reservationId });
    } else if (fate < 0.65) {
      await this.#sendUntilSettled({ kind: 'release', buyerId, reservationId });
    } else if (fate < 0.75) {
      await this.#sendUntilSettled({ kind: 'read', buyerId, reservationId });
    } else if (fate < 0.8) {
      // A payment when the hold has expired, or nearly.
      await sleep(random.between(1_000, 2_500));
      const reclaims = random.chance(0.7);
      const request = { kind: 'confirm', reservationId, paymentRef: 'late' } as const;
      await this.#sendUntilSettled(reclaims ? { ...request, reclaim: true } : request);
    }
  }

  /** Cancels one unit, which is not the last one. A repeated request must change nothing. */
  async #cancelPart(reservationId: string, sku: string): Promise<void> {
    const random = this.#random;
    const request = {
      kind: 'cancel-part',
      reservationId,
      items: [{ sku, quantity: 1 }],
      ...(random.chance(0.5) && { key: 'part' }),
      ...(random.chance(0.3) && { restock: false as const }),
    } as const;
    await this.#sendUntilSettled(request);
    if (random.chance(0.3)) await this.#sendUntilSettled(request);
  }

  /** Confirms with the payment, or attaches it later. May then pay again, or refund, with or without restock. */
  async #pay(reservationId: string): Promise<void> {
    const random = this.#random;
    const confirm = { kind: 'confirm', reservationId } as const;
    const isPaid = random.chance(0.6);
    await this.#sendUntilSettled(isPaid ? { ...confirm, paymentRef: 'first' } : confirm);
    if (random.chance(0.4)) {
      const paymentRef = random.pick(['first', 'second']);
      await this.#sendUntilSettled({ ...confirm, paymentRef });
    }
    if (random.chance(0.2)) {
      const cancel = { kind: 'cancel', reservationId } as const;
      await this.#sendUntilSettled(random.chance(0.5) ? { ...cancel, restock: false } : cancel);
    }
  }

  /** Joins the waitlist of the first SKU in the basket, until units or patience run out. Always leaves it. */
  async #wait([item]: Item[]): Promise<void> {
    const random = this.#random;
    const buyerId = this.#buyerId;
    const joined = await this.#sendUntilSettled({ kind: 'join', buyerId, ...item! });
    if (!joined || joined.response!.status >= 300) return;
    for (let look = 0; look < LOOKS_WHILE_WAITING; look++) {
      await sleep(random.between(150, 500));
      const me = await this.#sendUntilSettled({ kind: 'me', buyerId });
      const served = me && reservationsIn(me).find(({ status }) => status === 'reserved');
      if (served) {
        await this.#settle(served);
        break;
      }
    }
    await this.#sendUntilSettled({ kind: 'leave', buyerId });
  }

  #sendUntilSettled(
    request: Parameters<Client['sendUntilSettled']>[0],
  ): Promise<Exchange | undefined> {
    return this.#client.sendUntilSettled(request, this.#random);
  }
}
