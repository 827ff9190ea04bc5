/** Loads what an earlier version of the engine had in both servers, see record-sale.ts. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import type { Redis } from 'ioredis';
import Postgrator from 'postgrator';
import postgres from 'postgres';
import { PERSISTER_GROUP, saleKey } from '../../src/lua/keys.ts';
import { migrate } from '../../src/postgres/migrate.ts';

type RecordedKey = { key: string } & (
  | { hash: Record<string, string> }
  | { list: string[] }
  | { zset: string[] }
  | { stream: [entryId: string, fields: string[]][]; abandoned: string[] }
);

interface RecordedSale {
  recordedAtMs: number;
  /** The last migration of that version. */
  migration: number;
  keys: RecordedKey[];
  tables: Record<string, unknown[]>;
}

/** The sale was recorded so long ago: what was due soon is due, and what lasts still lasts. */
const AGE_MS = 60_000;

/** With all times moved, as if the sale had been recorded just before. */
export function readRecordedSale(file: URL): RecordedSale {
  const text = gunzipSync(readFileSync(file)).toString();
  const { recordedAtMs } = JSON.parse(text) as RecordedSale;
  const laterMs = Date.now() - AGE_MS - recordedAtMs;
  const moved = text
    // In records, a tab or a line feed comes before; JSON writes them as letters.
    .replaceAll(/(?<=\\[tn]|\b)[12]\d{12}\b/g, (ms) => String(Number(ms) + laterMs))
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+\+00:00/g, (time) =>
      new Date(Date.parse(time) + laterMs).toISOString(),
    );
  return JSON.parse(moved) as RecordedSale;
}

/** Fills an empty database with the schema and the rows of that version, and migrates it to the present one. */
export async function loadRows(databaseUrl: string, recorded: RecordedSale): Promise<void> {
  const sql = postgres(databaseUrl, { max: 1, onnotice: () => undefined });
  try {
    const postgrator = new Postgrator({
      driver: 'pg',
      migrationPattern: fileURLToPath(new URL('../../migrations/*.sql', import.meta.url)),
      schemaTable: 'schema_version',
      execQuery: async (query) => ({ rows: await sql.unsafe(query) }),
    });
    await postgrator.migrate(String(recorded.migration));
    for (const [table, rows] of Object.entries(recorded.tables)) {
      await sql`
        INSERT INTO ${sql(table)} OVERRIDING SYSTEM VALUE
        SELECT * FROM jsonb_populate_recordset(NULL::${sql(table)}, ${sql.json(rows as never)})`;
    }
  } finally {
    await sql.end();
  }
  await migrate(databaseUrl, () => undefined);
}

/** Fills Redis as if it had been running since: its sales are open on it. */
export async function loadKeys(
  client: Redis,
  runId: string,
  recorded: RecordedSale,
): Promise<void> {
  for (const each of recorded.keys) {
    const { key } = each;
    if ('hash' in each) await client.hset(key, each.hash);
    else if ('list' in each) await client.rpush(key, ...each.list);
    else if ('zset' in each) {
      for (let i = 0; i < each.zset.length; i += 2) {
        await client.zadd(key, each.zset[i + 1]!, each.zset[i]!);
      }
    } else await loadStream(client, key, each);
  }
  for (const row of recorded.tables.sales as { sale_id: string }[]) {
    await client.hset(saleKey(row.sale_id, 'sale'), 'fence', runId);
  }
}

async function loadStream(
  client: Redis,
  key: string,
  { stream, abandoned }: { stream: [entryId: string, fields: string[]][]; abandoned: string[] },
): Promise<void> {
  for (const [entryId, fields] of stream) await client.xadd(key, entryId, ...fields);
  await client.xgroup('CREATE', key, PERSISTER_GROUP, '0');
  const last = stream.findIndex(([entryId]) => entryId === abandoned.at(-1));
  const group = ['GROUP', PERSISTER_GROUP, 'abandoned'] as const;
  await client.xreadgroup(...group, 'COUNT', last + 1, 'STREAMS', key, '>');
  for (const [entryId] of stream.slice(0, last + 1)) {
    if (!abandoned.includes(entryId)) await client.xack(key, PERSISTER_GROUP, entryId);
  }
}
