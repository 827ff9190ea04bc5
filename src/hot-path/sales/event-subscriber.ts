/**
 * Receives the events of reservations from all hot paths over Redis publish/subscribe, on one connection for all sales
 * that are subscribed to. Messages are lost while the connection is down, so the listener must read the state of a sale
 * again after every (re)subscription.
 */
import type { Redis } from 'ioredis';
import { liveChannel } from '../../lua/keys.ts';

/** Detects a connection that is broken but not closed. */
const PING_INTERVAL_MS = 5_000;

export interface SaleEventListener {
  /** From now on no event of this sale is missed; the listener must read what happened before. */
  subscribed(saleId: string): void;
  /** One or more event lines, in the format of domain/reservation-codec.ts. */
  received(saleId: string, lines: string): void;
}

export class EventSubscriber {
  readonly #connect: () => Redis;
  readonly #listener: SaleEventListener;
  readonly #saleByChannel = new Map<string, string>();
  readonly #subscribed = new Set<string>();
  #redis: Redis | undefined;
  #pingTimer: NodeJS.Timeout | undefined;

  constructor(connect: () => Redis, listener: SaleEventListener) {
    this.#connect = connect;
    this.#listener = listener;
  }

  isSubscribed(saleId: string): boolean {
    return this.#subscribed.has(saleId);
  }

  subscribe(saleId: string): void {
    const channel = liveChannel(saleId);
    if (this.#saleByChannel.has(channel)) return;
    this.#saleByChannel.set(channel, saleId);
    this.#redis ??= this.#listen();
    if (this.#redis.status === 'ready') void this.#subscribeTo([channel]);
  }

  unsubscribe(saleId: string): void {
    const channel = liveChannel(saleId);
    this.#saleByChannel.delete(channel);
    this.#subscribed.delete(saleId);
    // A broken connection has no subscriptions; the next one subscribes to the channels that remain.
    if (this.#redis?.status === 'ready') this.#redis.unsubscribe(channel).catch(() => undefined);
  }

  close(): void {
    clearInterval(this.#pingTimer);
    this.#saleByChannel.clear();
    this.#redis?.disconnect();
  }

  #listen(): Redis {
    const redis = this.#connect();
    redis.on('ready', () => void this.#subscribeTo([...this.#saleByChannel.keys()]));
    redis.on('close', () => this.#subscribed.clear());
    redis.on('message', (channel: string, lines: string) => {
      const saleId = this.#saleByChannel.get(channel);
      if (saleId !== undefined) this.#listener.received(saleId, lines);
    });
    this.#pingTimer = setInterval(() => {
      if (redis.status === 'ready') redis.ping().catch(() => redis.disconnect(true));
    }, PING_INTERVAL_MS).unref();
    return redis;
  }

  async #subscribeTo(channels: string[]): Promise<void> {
    if (channels.length === 0) return;
    try {
      await this.#redis!.subscribe(...channels);
    } catch {
      // A new connection subscribes again. If this one is already closed, ioredis reconnects by itself.
      if (this.#redis!.status === 'ready') this.#redis!.disconnect(true);
      return;
    }
    for (const channel of channels) {
      const saleId = this.#saleByChannel.get(channel);
      if (saleId === undefined) continue;
      this.#subscribed.add(saleId);
      this.#listener.subscribed(saleId);
    }
  }
}
