/**
 * Whether a sale's server is nearly full. Nobody new gets anything then, while there is still room for what is to
 * become of the reservations that there are: each will be confirmed, cancelled or expire, and the events of that are
 * kept for PostgreSQL, which may be away. A server that is really full refuses everything.
 */
import type { Shard } from '../../redis/shard.ts';
import type { Shards } from '../../redis/shards.ts';

const SHARE_MAX = 0.8;
/** Selling fills some tens of megabytes a second at most, far less than what is left. */
const INTERVAL_MS = 500;

export class MemoryPressure {
  readonly #shards: Shards;
  readonly #isTight = new Map<Shard, boolean>();
  readonly #timer: NodeJS.Timeout;

  constructor(shards: Shards) {
    this.#shards = shards;
    this.#timer = setInterval(() => {
      for (const shard of this.#isTight.keys()) void this.#look(shard);
    }, INTERVAL_MS);
  }

  /** As it was when last looked at; of a server that is asked for the first time there is no telling yet. */
  isTight(saleId: string): boolean {
    const shard = this.#shards.of(saleId);
    const isTight = this.#isTight.get(shard);
    if (isTight === undefined) {
      this.#isTight.set(shard, false);
      void this.#look(shard);
    }
    return isTight ?? false;
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #look(shard: Shard): Promise<void> {
    try {
      const info = await shard.client.info('memory');
      const field = (name: string) => Number(new RegExp(`^${name}:(\\d+)`, 'm').exec(info)?.[1]);
      const most = field('maxmemory');
      this.#isTight.set(shard, most > 0 && field('used_memory') > SHARE_MAX * most);
    } catch {
      // It is away, which is noticed elsewhere; or it doesn't say, and refuses by itself when it is full.
    }
  }
}
