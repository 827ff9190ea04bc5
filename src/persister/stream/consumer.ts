/**
 * One sale's events stream on one server, as one consumer of the group sees it. What is read stays ours, pending, until
 * it is acknowledged: nothing gets lost between Redis and PostgreSQL.
 *
 * Under `DURABILITY=replicated` nothing is given out that replicas lack. PostgreSQL is then never ahead of whoever is
 * promoted, and an old master that was cut off together with a persister writes nothing into it.
 */

import { PERSISTER_GROUP, saleKey } from '../../lua/keys.ts';
import { ensureGroup } from '../../lua/stream/ensure-group.ts';
import { removeIdleConsumers } from '../../lua/stream/remove-idle-consumers.ts';
import type { PinnedServer } from '../../redis/shard.ts';
import type { StreamEntry } from './entries.ts';

export interface Delivery {
  entries: StreamEntry[];
}

/** What `readOwn` and `claim` read from, and where the next page starts. */
export interface Page extends Delivery {
  next: string;
}

const START = '0-0';

export class StreamConsumer {
  readonly server: PinnedServer;
  readonly saleId: string;
  readonly consumer: string;
  readonly #key: string;

  constructor(server: PinnedServer, saleId: string, consumer: string) {
    this.server = server;
    this.saleId = saleId;
    this.consumer = consumer;
    this.#key = saleKey(saleId, 'events');
  }

  /** Entries that nobody has had yet, at most `count`. */
  async readNew(count: number): Promise<Delivery> {
    return this.#read('>', count);
  }

  /** Entries that this consumer has had and never acknowledged, after the id given. */
  async readOwn(after: string, count: number): Promise<Page> {
    const delivery = await this.#read(after, count);
    return { ...delivery, next: delivery.entries.at(-1)?.id ?? START };
  }

  /** Takes over entries that lay unacknowledged with any consumer for so long. The last page's `next` is `0-0`. */
  async claim(minIdleMs: number, from: string, count: number): Promise<Page> {
    const [next, entries] = (await this.server.client.xautoclaim(
      ...([this.#key, PERSISTER_GROUP, this.consumer, minIdleMs, from, 'COUNT', count] as const),
    )) as [string, [string, string[] | null][]];
    if (entries.length > 0) await this.server.replicated(this.saleId);
    return { entries: entries.map(([id, fields]) => ({ id, fields })), next };
  }

  async acknowledge(entryIds: readonly string[]): Promise<void> {
    if (entryIds.length === 0) return;
    await this.server.client.xack(this.#key, PERSISTER_GROUP, ...entryIds);
  }

  /** Makes the group, from the stream's beginning; and an empty stream where there is none, so ask for the sale first. */
  async ensureGroup(): Promise<void> {
    await this.server.call(ensureGroup, this.saleId);
  }

  /** Removes consumers of processes long gone. Entries that one still has are claimed first, by another run. */
  async removeIdleConsumers(minIdleMs: number): Promise<void> {
    await this.server.call(removeIdleConsumers, this.saleId, { minIdleMs, kept: this.consumer });
  }

  /** When the oldest entry that is still in the stream was written, by Redis' clock; undefined when none is. */
  async oldestMs(): Promise<number | undefined> {
    const [first] = await this.server.client.xrange(this.#key, '-', '+', 'COUNT', 1);
    return first ? Number(first[0].split('-')[0]) : undefined;
  }

  async #read(from: string, count: number): Promise<Delivery> {
    const reply = await this.server.client.xreadgroup(
      'GROUP',
      PERSISTER_GROUP,
      this.consumer,
      'COUNT',
      count,
      'STREAMS',
      this.#key,
      from,
    );
    const entries = entriesOf(reply);
    if (entries.length > 0) await this.server.replicated(this.saleId);
    return { entries };
  }
}

/** The group, or the whole stream, is not there. */
export function isGroupMissing(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('NOGROUP');
}

function entriesOf(
  reply: [key: string, items: [id: string, fields: string[] | null][]][] | null,
): StreamEntry[] {
  return (reply?.[0]?.[1] ?? []).map(([id, fields]) => ({ id, fields }));
}
