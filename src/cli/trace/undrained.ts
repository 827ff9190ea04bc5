/** What only Redis has of a request: events in the streams of sales that are not rows yet. */
import { parseEvent } from '../../domain/reservation-codec.ts';
import { wholeEventLines } from '../../domain/short-record.ts';
import { reservationEventType } from '../../domain/webhook.ts';
import { saleKey } from '../../lua/keys.ts';
import type { Sql } from '../../postgres/connection.ts';
import type { Shards } from '../../redis/shards.ts';
import type { Moment } from './moment.ts';
import type { Search } from './stored.ts';

/** Redis serves nobody else while it copies so many entries, some milliseconds. */
const ENTRIES_PER_READ = 20;
/** A longer backlog is searched only up to here. */
const READS_MAX = 200;
const SALES_MAX = 1_000;

interface Undrained {
  moments: Moment[];
  traceparents: string[];
  notes: string[];
}

/** Throws errors of Redis and PostgreSQL. */
export async function readUndrained(
  sql: Sql,
  shards: Shards,
  { requestId, saleId }: Search,
): Promise<Undrained> {
  const found: Undrained = { moments: [], traceparents: [], notes: [] };
  const sales = await sql<{ saleId: string; currency: string; lastEntry: string }[]>`
    SELECT sale_id, currency, coalesce(entry_ms || '-' || entry_sequence, '0-0') AS last_entry
    FROM sales LEFT JOIN checkpoints USING (sale_id)
    WHERE archived_at IS NULL AND status <> 'draft'
      ${saleId === undefined ? sql`` : sql`AND sale_id = ${saleId}`}
    ORDER BY sales.updated_at DESC LIMIT ${SALES_MAX}`;
  if (sales.length === SALES_MAX)
    found.notes.push(
      `Redis was searched for the ${SALES_MAX} sales that changed last; name one with --sale.`,
    );
  for (const sale of sales) await searchStream(shards, sale, requestId, found);
  return found;
}

async function searchStream(
  shards: Shards,
  { saleId, currency, lastEntry }: { saleId: string; currency: string; lastEntry: string },
  requestId: string,
  found: Undrained,
): Promise<void> {
  const { client } = shards.of(saleId);
  let after = lastEntry;
  for (let reads = 1; ; reads += 1) {
    const entries = await client.xrange(
      saleKey(saleId, 'events'),
      `(${after}`,
      '+',
      'COUNT',
      ENTRIES_PER_READ,
    );
    for (const [id, fields] of entries) {
      const lines = fields[fields.indexOf('d') + 1] ?? '';
      if (!lines.includes(`\t${requestId}\t`)) continue;
      for (const line of wholeEventLines(lines)) {
        if (!line.includes(`\t${requestId}\t`)) continue;
        const event = parseEvent(line, { saleId, currency });
        if (event.requestId !== requestId) continue;
        found.moments.push({
          at: new Date(event.occurredAt),
          kind: 'stream',
          subject: event.reservationId,
          text: `${reservationEventType(event)}, version ${event.version}, is in Redis (entry ${id}) and not in PostgreSQL yet`,
        });
        if (event.traceparent !== '') found.traceparents.push(event.traceparent);
      }
    }
    const last = entries.at(-1)?.[0];
    if (last === undefined || entries.length < ENTRIES_PER_READ) return;
    if (reads === READS_MAX) {
      found.notes.push(
        `The backlog of ${saleId} in Redis is longer than ${READS_MAX * ENTRIES_PER_READ} entries and was not searched to its end.`,
      );
      return;
    }
    after = last;
  }
}
