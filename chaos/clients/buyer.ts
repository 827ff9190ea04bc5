/**
 * One buyer, from the first press to the last, and the shop's back end that takes this buyer's payment. What a buyer
 * wants is drawn from the buyer's own sequence, so it is the same in every run of a seed, whatever goes wrong.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../harness/random.ts';
import type { Item, PublicReservation } from '../../src/domain/reservation.ts';
import type { Client } from './client.ts';
import { type Exchange, reservationsIn } from './history.ts';

const LOOKS_WHILE_WAITING = 5;
const TRIES_WHILE_PAUSED = 4;

export class Buyer {
  readonly #buyerId: string;
  readonly #client: Client;
  readonly #random: Random;
  readonly #skus: readonly string[];

  constructor(buyerId: string, client: Client, random: Random, skus: readonly string[]) {
    this.#buyerId = buyerId;
    this.#client = client;
    this.#random = random;
    this.#skus = skus;
  }

  /** Comes along after a while, buys once or twice, and sees to what came of it. */
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
    if (random.chance(0.3)) await this.#sendUntilDecided({ kind: 'me', buyerId: this.#buyerId });
  }

  /** Mostly the scarce SKU, which is the first; sometimes several of one, or a basket. */
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
    let exchange = await this.#sendUntilDecided(request);
    for (let i = 0; i < TRIES_WHILE_PAUSED && exchange?.response?.code === 'sale_paused'; i++) {
      await sleep(random.between(100, 400));
      exchange = await this.#sendUntilDecided(request);
    }
    // Pressing again after an answer must change nothing.
    return random.chance(0.25) ? ((await this.#sendUntilDecided(request)) ?? exchange) : exchange;
  }

  /** Pays, gives back, or forgets about it. */
  async #settle({ reservationId }: PublicReservation): Promise<void> {
    const random = this.#random;
    const buyerId = this.#buyerId;
    await sleep(random.between(0, 600));
    const fate = random.next();
    if (fate < 0.4) {
      await this.#sendUntilDecided({ kind: 'confirm', reservationId });
      if (random.chance(0.2)) await this.#sendUntilDecided({ kind: 'cancel', reservationId });
    } else if (fate < 0.5) {
      await this.#sendUntilDecided({ kind: 'extend', reservationId });
      await sleep(random.between(0, 1_500));
      await this.#sendUntilDecided({ kind: 'confirm', reservationId });
    } else if (fate < 0.65) {
      await this.#sendUntilDecided({ kind: 'release', buyerId, reservationId });
    } else if (fate < 0.75) {
      await this.#sendUntilDecided({ kind: 'read', buyerId, reservationId });
    } else if (fate < 0.8) {
      // A payment that comes when the hold is over, or nearly.
      await sleep(random.between(1_000, 2_500));
      await this.#sendUntilDecided({ kind: 'confirm', reservationId });
    }
  }

  /** In the line for the first SKU that was asked for, until patience or units come. Always leaves it in the end. */
  async #wait([item]: Item[]): Promise<void> {
    const random = this.#random;
    const buyerId = this.#buyerId;
    const joined = await this.#sendUntilDecided({ kind: 'join', buyerId, ...item! });
    if (!joined || joined.response!.status >= 300) return;
    for (let look = 0; look < LOOKS_WHILE_WAITING; look++) {
      await sleep(random.between(150, 500));
      const me = await this.#sendUntilDecided({ kind: 'me', buyerId });
      const served = me && reservationsIn(me).find(({ status }) => status === 'reserved');
      if (served) {
        await this.#settle(served);
        break;
      }
    }
    await this.#sendUntilDecided({ kind: 'leave', buyerId });
  }

  #sendUntilDecided(
    request: Parameters<Client['sendUntilDecided']>[0],
  ): Promise<Exchange | undefined> {
    return this.#client.sendUntilDecided(request, this.#random);
  }
}
