/**
 * Short-lived texts that all admins share, in Redis. None is needed for a decision about a sale: a Redis that loses its
 * memory ends sign-in links, and forgets which sessions were signed out.
 */
import type { Redis } from 'ioredis';
import { Fault } from '../../domain/fault.ts';
import type { Shards } from '../../redis/shards.ts';

export class RedisTexts {
  readonly #shards: Shards;
  readonly #kind: string;

  constructor(shards: Shards, kind: string) {
    this.#shards = shards;
    this.#kind = kind;
  }

  /** Each method throws the faults of a call; `not_sent` at once while Redis is unavailable. */
  async set(id: string, text: string, seconds: number): Promise<void> {
    await this.#run(id, (redis, key) => redis.set(key, text, 'EX', seconds));
  }

  /** Of concurrent callers, one gets it. */
  take(id: string): Promise<string | null> {
    return this.#run(id, (redis, key) => redis.getdel(key));
  }

  async has(id: string): Promise<boolean> {
    return (await this.#run(id, (redis, key) => redis.exists(key))) === 1;
  }

  async #run<T>(id: string, command: (redis: Redis, key: string) => Promise<T>): Promise<T> {
    // A cluster finds the shard by the text in braces, as it does for a sale.
    const shard = this.#shards.of(id);
    if (shard.runId === undefined) throw new Fault('not_sent');
    try {
      return await command(shard.client, `fs:${this.#kind}:{${id}}`);
    } catch (error) {
      throw shard.faultOf(error);
    }
  }
}
