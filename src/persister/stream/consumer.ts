/**
 * One sale's event stream on one server, as one consumer of the group reads it. Entries stay pending for the consumer
 * until it acknowledges them, so nothing is lost between Redis and PostgreSQL.
 *
 * Under `DURABILITY=replicated` it returns only entries that replicas have. PostgreSQL is then never ahead of a promoted
 * replica, and an old master that was cut off together with a persister writes nothing to PostgreSQL.
 */
import { PERSISTER_GROUP, saleKey } from '../../lua/keys.ts';
import { ensureGroup } from '../../lua/stream/ensure-group.ts';
import { removeIdleConsumers } from '../../lua/stream/remove-idle-consumers.ts';
import type { PinnedServer } from '../../redis/shard.ts';
import type { StreamEntry } from './entries.ts';

/** A page of pending entries, and where the next page starts. */
export interface Page {
  entries: StreamEntry[];
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

  /** At most `count` entries that no consumer has read. */
  async readNew(count: number): Promise<StreamEntry[]> {
    return this.#read('>', count);
  }

  /** Entries after the given id that this consumer has read and not acknowledged. */
  async readOwn(after: string, count: number): Promise<Page> {
    const entries = await this.#read(after, count);
    return { entries, next: entries.at(-1)?.id ?? START };
  }

  /** Takes over entries that any consumer has left pending for `minIdleMs`. The last page's `next` is `0-0`. */
  async claim(minIdleMs: number, from: string, count: number): Promise<Page> {
    const [next, entries] = (await this.server.client.xautoclaim(
      ...([this.#key, PERSISTER_GROUP, this.consumer, minIdleMs, from, 'COUNT', count] as const),
    )) as [string, [string, string[] | null][]];
    if (entries.length > 0) await this.server.replicated(this.saleId);
    return { entries: entriesOf(entries), next };
  }

  async acknowledge(entryIds: readonly string[]): Promise<void> {
    if (entryIds.length === 0) return;
    await this.server.client.xack(this.#key, PERSISTER_GROUP, ...entryIds);
  }

  /** Creates the group from the stream's beginning. Creates the stream, too, so read first whether the sale exists. */
  async ensureGroup(): Promise<void> {
    await this.server.call(ensureGroup, this.saleId);
  }

  /** Removes consumers of processes that have ended. Consumers with pending entries stay until those are claimed. */
  async removeIdleConsumers(minIdleMs: number): Promise<void> {
    await this.server.call(removeIdleConsumers, this.saleId, { minIdleMs, kept: this.consumer });
  }

  /** When the stream's oldest entry was written, by Redis' clock. Undefined: the stream is empty. */
  async oldestMs(): Promise<number | undefined> {
    const [first] = await this.server.client.xrange(this.#key, '-', '+', 'COUNT', 1);
    return first ? Number(first[0].split('-')[0]) : undefined;
  }

  /** The number of the first event in the stream. Undefined: the stream is empty, or its first entry cannot be read. */
  async firstEvent(): Promise<number | undefined> {
    const [first] = await this.server.client.xrange(this.#key, '-', '+', 'COUNT', 1);
    if (!first) return undefined;
    const [, fields] = first;
    const number = Number(fields[fields.indexOf('s') + 1]);
    return Number.isSafeInteger(number) && number > 0 ? number : 1;
  }

  async #read(from: string, count: number): Promise<StreamEntry[]> {
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
    const entries = entriesOf(reply?.[0]?.[1] ?? []);
    if (entries.length > 0) await this.server.replicated(this.saleId);
    return entries;
  }
}

/** The group or the whole stream does not exist. */
export function isGroupMissing(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('NOGROUP');
}

function entriesOf(items: [id: string, fields: string[] | null][]): StreamEntry[] {
  return items.map(([id, fields]) => ({ id, fields }));
}
