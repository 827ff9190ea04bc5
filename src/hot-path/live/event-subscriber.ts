/**
 * What happens to reservations in any front end, heard over Redis' publish/subscribe: one connection a process, and
 * only the sales in which somebody here wants to hear of their own. Messages are hints and can be missed while the
 * connection is down; so each time that a sale is heard (again), whoever relies on it is told to look for themselves.
 */
import type { Redis } from 'ioredis';
import { liveChannel } from '../../lua/keys.ts';

/** A connection that is dead without having been closed shows only when it is asked something. */
const PING_INTERVAL_MS = 5_000;

export interface SaleEventListener {
  /** From here on nothing of this sale is missed; what came before has to be read. */
  heard(saleId: string): void;
  /** Event lines, see domain/reservation.ts. */
  happened(saleId: string, lines: string): void;
}

export class EventSubscriber {
  readonly #connect: () => Redis;
  readonly #listener: SaleEventListener;
  /** Channel -> sale. */
  readonly #wanted = new Map<string, string>();
  readonly #heard = new Set<string>();
  #redis: Redis | undefined;
  #pings: NodeJS.Timeout | undefined;

  constructor(connect: () => Redis, listener: SaleEventListener) {
    this.#connect = connect;
    this.#listener = listener;
  }

  isHeard(saleId: string): boolean {
    return this.#heard.has(saleId);
  }

  want(saleId: string): void {
    const channel = liveChannel(saleId);
    if (this.#wanted.has(channel)) return;
    this.#wanted.set(channel, saleId);
    this.#redis ??= this.#listen();
    if (this.#redis.status === 'ready') void this.#subscribe([channel]);
  }

  drop(saleId: string): void {
    const channel = liveChannel(saleId);
    this.#wanted.delete(channel);
    this.#heard.delete(saleId);
    // Over a broken connection there is nothing to take back: the next one subscribes to what is wanted then.
    if (this.#redis?.status === 'ready') this.#redis.unsubscribe(channel).catch(() => undefined);
  }

  close(): void {
    clearInterval(this.#pings);
    this.#wanted.clear();
    this.#redis?.disconnect();
  }

  #listen(): Redis {
    const redis = this.#connect();
    redis.on('ready', () => void this.#subscribe([...this.#wanted.keys()]));
    redis.on('close', () => this.#heard.clear());
    redis.on('message', (channel: string, lines: string) => {
      const saleId = this.#wanted.get(channel);
      if (saleId !== undefined) this.#listener.happened(saleId, lines);
    });
    this.#pings = setInterval(() => {
      if (redis.status === 'ready') redis.ping().catch(() => redis.disconnect(true));
    }, PING_INTERVAL_MS).unref();
    return redis;
  }

  async #subscribe(channels: string[]): Promise<void> {
    if (channels.length === 0) return;
    try {
      await this.#redis!.subscribe(...channels);
    } catch {
      // Unless the connection is gone already, and the next one subscribes again: take another.
      if (this.#redis!.status === 'ready') this.#redis!.disconnect(true);
      return;
    }
    for (const channel of channels) {
      const saleId = this.#wanted.get(channel);
      if (saleId === undefined) continue;
      this.#heard.add(saleId);
      this.#listener.heard(saleId);
    }
  }
}
