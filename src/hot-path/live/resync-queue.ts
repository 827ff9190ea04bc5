/**
 * Reads of what is a client's own: when it comes, when the channel may have missed something, when it is no longer in
 * line. In order of asking and few at a time, so that ten thousand clients that come back together are no storm.
 */
import type { Logger } from 'pino';
import { readBuyer } from '../../lua/read/read-buyer.ts';
import type { Shards } from '../../redis/shards.ts';
import type { LiveClient } from './client.ts';

const IN_FLIGHT_MAX = 8;
/** A sale that recovers, a Redis that is away: asked again after so long. */
const RETRY_MS = 1_000;

export class ResyncQueue {
  readonly #shards: Shards;
  readonly #log: Logger;
  readonly #waiting = new Set<LiveClient>();
  readonly #failed = new Set<LiveClient>();
  #inFlight = 0;
  #retry: NodeJS.Timeout | undefined;

  constructor(shards: Shards, log: Logger) {
    this.#shards = shards;
    this.#log = log;
  }

  add(client: LiveClient): void {
    this.#waiting.add(client);
    this.#start();
  }

  close(): void {
    clearTimeout(this.#retry);
    this.#waiting.clear();
  }

  #start(): void {
    for (const client of this.#waiting) {
      if (this.#inFlight >= IN_FLIGHT_MAX) return;
      this.#waiting.delete(client);
      if (client.isOpen) void this.#sync(client);
    }
  }

  async #sync(client: LiveClient): Promise<void> {
    this.#inFlight++;
    const askedAt = performance.now();
    try {
      const { saleId, buyerId } = client;
      const reply = await this.#shards.call(readBuyer, saleId, buyerId!);
      if (reply.outcome === 'known') client.tellAll(reply, askedAt);
      else this.#tryLater(client);
    } catch (error) {
      this.#log.debug({ saleId: client.saleId, err: error }, 'a live client was not told its own');
      this.#tryLater(client);
    } finally {
      this.#inFlight--;
      this.#start();
    }
  }

  #tryLater(client: LiveClient): void {
    this.#failed.add(client);
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      for (const each of this.#failed) this.#waiting.add(each);
      this.#failed.clear();
      this.#start();
    }, RETRY_MS).unref();
  }
}
