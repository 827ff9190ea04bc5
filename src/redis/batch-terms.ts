/**
 * The terms that short records need, for readers of whole hashes. Terms are written once and never change, so they can be
 * read after the records.
 */
import type { Redis } from 'ioredis';
import { LRUCache } from 'lru-cache';
import { isShortRecord, termsFieldOf, wholeRecord } from '../domain/short-record.ts';
import { saleKey } from '../lua/keys.ts';

/** Enough for millions of reservations in large batches. A text has a hundred bytes or so for each basket. */
const KEPT_MAX = 100_000;

export class BatchTerms {
  readonly #client: Pick<Redis, 'hmget'>;
  readonly #key: string;
  readonly #texts = new LRUCache<string, string>({ max: KEPT_MAX });

  constructor(client: Pick<Redis, 'hmget'>, saleId: string) {
    this.#client = client;
    this.#key = saleKey(saleId, 'terms');
  }

  /** Reads what `whole` needs for these fields of `buyers`, at most a few thousand. Throws the errors of ioredis. */
  async load(fields: Iterable<string>): Promise<void> {
    const missing = new Set<string>();
    for (const field of fields) {
      const needed = isShortRecord(field) ? termsFieldOf(field) : undefined;
      if (needed !== undefined && !this.#texts.has(needed)) missing.add(needed);
    }
    if (missing.size === 0) return;
    const texts = await this.#client.hmget(this.#key, ...missing);
    for (const [index, field] of [...missing].entries()) {
      const text = texts[index];
      if (text !== null && text !== undefined) this.#texts.set(field, text);
    }
  }

  /** The field with whole records. Throws a Fault `reply_malformed` if it or its terms are damaged. */
  whole(field: string): string {
    if (!isShortRecord(field)) return field;
    return wholeRecord(field, this.#texts.get(termsFieldOf(field) ?? ''));
  }
}
