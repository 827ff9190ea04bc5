/**
 * Whether a Redis server is nearly full. New reservations are then refused, to keep room for the existing ones. Each of
 * them will be confirmed, cancelled or expired, and Redis keeps those events until PostgreSQL has them. A server that is
 * completely full rejects every write.
 */
import type { Shard } from '../../redis/shard.ts';
import type { Shards } from '../../redis/shards.ts';

const USED_SHARE_MAX = 0.8;
/** Sales use some tens of megabytes a second at most, far less than the remaining memory. */
const INTERVAL_MS = 500;

export class MemoryPressure {
  readonly #shards: Shards;
  readonly #isHighByShard = new Map<Shard, boolean>();
  readonly #timer = setInterval(() => {
    for (const shard of this.#isHighByShard.keys()) void this.#check(shard);
  }, INTERVAL_MS);

  constructor(shards: Shards) {
    this.#shards = shards;
  }

  /** The result of the last check. False before the first check of a server. */
  isHigh(saleId: string): boolean {
    const shard = this.#shards.of(saleId);
    const isHigh = this.#isHighByShard.get(shard);
    if (isHigh === undefined) {
      this.#isHighByShard.set(shard, false);
      void this.#check(shard);
    }
    return isHigh ?? false;
  }

  /** Servers that get no new reservations, by the last check of each. */
  get nearlyFull(): number {
    let count = 0;
    for (const isHigh of this.#isHighByShard.values()) if (isHigh) count += 1;
    return count;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #check(shard: Shard): Promise<void> {
    try {
      const info = await shard.client.info('memory');
      const field = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1]);
      const limit = field('maxmemory');
      this.#isHighByShard.set(shard, limit > 0 && field('used_memory') > USED_SHARE_MAX * limit);
    } catch {
      // An unavailable server is detected elsewhere. A server that does not allow INFO still rejects writes when full.
    }
  }
}
