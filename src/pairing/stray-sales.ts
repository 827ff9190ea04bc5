/**
 * Looks for a sale in Redis that its database must have, and that this database does not have, or only an earlier state of
 * it. Then this is another database, a copy, or a backup that was restored; only an operator can tell which.
 *
 * It is read once, when a server has no identity: after an upgrade, or after it lost its memory.
 */
import type { Redis } from 'ioredis';
import { SALE_ID } from '../domain/identifiers.ts';
import { saleKey } from '../lua/keys.ts';
import type { Sql } from '../postgres/connection.ts';

const FOUND_PER_SCAN = 1_000;
const KEY = /^fs:\{(.+)\}:sale$/;

interface SaleInRedis {
  saleId: string;
  status: string | null;
  timeline: number;
  drained: number;
  /** A placeholder, or a draft that nobody has bought from: nothing is lost with it. */
  isEmpty: boolean;
}

/** Returns the reason; undefined: there is no such sale. */
export async function findStraySale(
  client: Redis,
  run: <T>(query: (sql: Sql) => Promise<T>) => Promise<T>,
): Promise<string | undefined> {
  let cursor = '0';
  do {
    const [next, keys] = await client.scan(
      cursor,
      'MATCH',
      saleKey('*', 'sale'),
      'COUNT',
      FOUND_PER_SCAN,
    );
    cursor = next;
    const saleIds = keys
      .map((key) => KEY.exec(key)?.[1] ?? '')
      .filter((saleId) => SALE_ID.test(saleId));
    if (saleIds.length === 0) continue;
    // Redis first: what it has drained by then, its database has.
    const found = await Promise.all(saleIds.map((saleId) => readFields(client, saleId)));
    const reason = await run((sql) => strayIn(sql, found));
    if (reason) return reason;
  } while (cursor !== '0');
  return undefined;
}

async function readFields(client: Redis, saleId: string): Promise<SaleInRedis> {
  const key = saleKey(saleId, 'sale');
  // A damaged sale proves nothing; recovery repairs it.
  const [status, timeline, drained, events, forgotten] = await client
    .hmget(key, 'status', 'timeline', 'drained', 'events', 'forgotten')
    .catch(() => []);
  return {
    saleId,
    status: status ?? null,
    timeline: Number(timeline ?? 0),
    drained: Number(drained ?? 0),
    isEmpty: !status || forgotten != null || (status === 'draft' && Number(events ?? 0) === 0),
  };
}

async function strayIn(sql: Sql, found: readonly SaleInRedis[]): Promise<string | undefined> {
  const rows = await sql<KnownSale[]>`
    SELECT sale_id, timeline, archived_at IS NOT NULL AS is_archived,
      coalesce((SELECT event FROM checkpoints c WHERE c.sale_id = sales.sale_id), 0)::bigint AS event,
      -- An unreadable entry that was set aside does not move the checkpoint; the next event does.
      EXISTS (SELECT FROM dead_letters d WHERE d.sale_id = sales.sale_id AND event IS NULL) AS is_set_aside
    FROM sales WHERE sale_id = ANY(${sql.array(found.map(({ saleId }) => saleId))})`;
  const known = new Map(rows.map((row) => [row.saleId, row]));
  for (const { saleId, status, timeline, drained, isEmpty } of found) {
    const row = known.get(saleId);
    if (isEmpty || row?.isArchived) continue;
    if (!row) return `Redis has the sale ${saleId}, which this database does not have`;
    const isBehind = drained > row.event && timeline === row.timeline && !row.isSetAside;
    if (status === 'archived' || timeline > row.timeline || isBehind)
      return `Redis has a later state of the sale ${saleId} than this database`;
  }
  return undefined;
}

interface KnownSale {
  saleId: string;
  timeline: number;
  isArchived: boolean;
  event: number;
  isSetAside: boolean;
}
