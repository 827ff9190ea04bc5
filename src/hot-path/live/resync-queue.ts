/**
 * Reads the state of buyers and sends it to their clients: after connecting, after possibly missed events, and after
 * leaving a waitlist. First in, first out with few reads in flight, so that 10,000 clients that reconnect together do not
 * overload Redis.
 */
import type { Logger } from 'pino';
import { readBuyer } from '../../lua/read/read-buyer.ts';
import type { Shards } from '../../redis/shards.ts';
import type { LiveClient } from './client.ts';

const IN_FLIGHT_MAX = 8;
/** After a read that failed, or of a sale that is recovering. */
const RETRY_DELAY_MS = 1_000;

export class ResyncQueue {
  readonly #shards: Shards;
  readonly #log: Logger;
  readonly #waiting = new Set<LiveClient>();
  readonly #failed = new Set<LiveClient>();
  #inFlight = 0;
  #retryTimer: NodeJS.Timeout | undefined;

  constructor(shards: Shards, log: Logger) {
    this.#shards = shards;
    this.#log = log;
  }

  add(client: LiveClient): void {
    this.#waiting.add(client);
    this.#start();
  }

  close(): void {
    clearTimeout(this.#retryTimer);
    this.#waiting.clear();
  }

  #start(): void {
    for (const client of this.#waiting) {
      if (this.#inFlight >= IN_FLIGHT_MAX) return;
      this.#waiting.delete(client);
      if (client.isOpen) void this.#resync(client);
    }
  }

  async #resync(client: LiveClient): Promise<void> {
    this.#inFlight++;
    const readAt = performance.now();
    try {
      const { saleId, buyerId } = client;
      const reply = await this.#shards.call(readBuyer, saleId, buyerId!);
      if (reply.outcome === 'known') client.sendSnapshot(reply, readAt);
      else this.#retryLater(client);
    } catch (error) {
      this.#log.debug({ saleId: client.saleId, err: error }, 'live client not resynchronized');
      this.#retryLater(client);
    } finally {
      this.#inFlight--;
      this.#start();
    }
  }

  #retryLater(client: LiveClient): void {
    this.#failed.add(client);
    this.#retryTimer ??= setTimeout(() => {
      this.#retryTimer = undefined;
      for (const each of this.#failed) this.#waiting.add(each);
      this.#failed.clear();
      this.#start();
    }, RETRY_DELAY_MS).unref();
  }
}
