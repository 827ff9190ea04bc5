/**
 * Each value that both servers hold of a sale is damaged, one after the other, and `verify` names the check that fails.
 * The columns come from the schema and the keys from src/lua/keys.ts: one that verify-coverage/ does not mention fails.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useAdmin } from '../../harness/engine/admin.ts';
import { usePersister } from '../../harness/engine/persister.ts';
import { eventually } from '../../harness/eventually.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import { FILE } from '../../harness/use.ts';
import { REBUILD_KEYS, SALE_KEYS, saleKey, WAITLIST_KEYS } from '../../src/lua/keys.ts';
import { verifySale } from '../../src/verify/verify.ts';
import { COLUMNS, type ColumnEntry } from './verify-coverage/columns.ts';
import {
  another,
  damageColumn,
  damageField,
  deleteKey,
  fieldChange,
  type Repair,
} from './verify-coverage/damage.ts';
import {
  KEYS,
  type KeyEntry,
  LINE_FIELDS,
  RECORD,
  RECORD_FIELDS,
  SALE_FIELDS,
  SHORT_RECORDS,
  STOCK_FIELDS,
  TERMS_FIELDS,
} from './verify-coverage/keys.ts';
import { saleOfAllKinds } from './verify-coverage/sale-of-all-kinds.ts';

const IMPATIENT = { catchUpMs: 0, repeats: 0, pauseMs: 0 };
const HOW =
  'say which check of verify compares it, or why nothing can, in test/admin/verify-coverage/';

const admin = await useAdmin(FILE);
const persister = await usePersister(FILE, admin.redis.url, admin.databaseUrl);
await makeSale(admin, { saleId: 'other-sale' });
const saleId = await saleOfAllKinds(admin, FILE);
// A loss of Redis is part of the sale, and its new identity comes up to two seconds later.
await eventually(async () => assert.ok(await admin.shards.identityOf(saleId)));
// At rest: nothing repairs what is damaged here.
await persister.close();

const { client } = admin.shards.of(saleId);
const keyOf = (key: Parameters<typeof saleKey>[1]) => saleKey(saleId, key);

async function failing(): Promise<string[]> {
  const { checks } = await verifySale(admin, saleId, IMPATIENT);
  return checks.filter(({ ok }) => !ok).map(({ name }) => name);
}

/** Damages, and repairs again. Returns what is wrong unless the check failed meanwhile. */
async function judge(
  what: string,
  check: string,
  damage: () => Promise<Repair>,
): Promise<string[]> {
  const repair = await damage();
  const found = await failing();
  await repair();
  return found.includes(check) ? [] : [`${what}: ${check} passed; failed: ${found.join(', ')}`];
}

async function assertAllFound(wrong: readonly string[]): Promise<void> {
  assert.deepEqual(wrong, []);
  assert.deepEqual(await failing(), [], 'each repaired value is accepted again');
}

interface Column {
  table: string;
  column: string;
  type: string;
}

const columns = await admin.sql<Column[]>`
  SELECT table_name AS table, column_name AS column, data_type AS type FROM information_schema.columns
  JOIN information_schema.tables USING (table_schema, table_name)
  WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name <> 'schema_version' ORDER BY table_name, ordinal_position`;

test('every column has an entry, and every entry a column', () => {
  const known = columns.map(({ table, column }) => `${table}.${column}`);
  const listed = Object.entries(COLUMNS).flatMap(([table, entries]) =>
    Object.keys(entries).map((column) => `${table}.${column}`),
  );
  assert.deepEqual(
    known.filter((column) => !listed.includes(column)),
    [],
    HOW,
  );
  assert.deepEqual(
    listed.filter((column) => !known.includes(column)),
    [],
    'there is no such column',
  );
});

test('every key and every field in Redis has an entry', async () => {
  assert.deepEqual(Object.keys(KEYS).sort(), [...SALE_KEYS].sort(), HOW);
  const saleFields = await client.hkeys(keyOf('sale'));
  assert.deepEqual(
    saleFields.filter((field) => !(field in SALE_FIELDS)),
    [],
    HOW,
  );
  const stockFields = (await client.hkeys(keyOf('stock'))).map((field) => field.split(':')[1]!);
  assert.deepEqual(
    stockFields.filter((field) => !(field in STOCK_FIELDS)),
    [],
    HOW,
  );
  const record = await client.hget(keyOf('buyers'), 'ada');
  assert.equal(record!.split('\t').length, RECORD_FIELDS.length, HOW);
  const [terms] = await client.hvals(keyOf('terms'));
  assert.equal(terms!.split('\t').length, TERMS_FIELDS.length, HOW);
  const [member] = await client.zrange(keyOf('line'), '0', '0');
  assert.equal(member!.split('\t').length, LINE_FIELDS.length, HOW);
});

test('the sale is sound before anything is damaged', async () => {
  assert.deepEqual(await failing(), []);
});

test('verify fails when a column of PostgreSQL is changed', async () => {
  const wrong: string[] = [];
  for (const { table, column, type } of columns) {
    const entry: ColumnEntry = COLUMNS[table]?.[column] ?? { free: 'reported above' };
    if (typeof entry === 'object' && 'free' in entry) continue;
    const { check, where = 'true', to } = typeof entry === 'string' ? { check: entry } : entry;
    const isOfSale = columns.some((other) => other.table === table && other.column === 'sale_id');
    const rows = isOfSale ? `sale_id = '${saleId}' AND ${where}` : where;
    const target = { table, column, type, where: rows, to };
    wrong.push(
      ...(await judge(`${table}.${column}`, check, () => damageColumn(admin.sql, target))),
    );
  }
  await assertAllFound(wrong);
});

test('verify fails when a row is deleted', async () => {
  const wrong: string[] = [];
  for (const [table, check] of Object.entries({
    stock_ledger: 'stock-is-what-the-ledger-says',
    reservations: 'every-decision-is-a-row',
    reservation_events: 'every-event-is-kept',
    checkpoints: 'persister-has-caught-up',
    audit_log: 'every-operation-is-audited',
    sale_recoveries: 'every-recovery-is-audited',
    dead_letters: 'every-event-is-kept',
  })) {
    const damage = async (): Promise<Repair> => {
      const rows = await admin.sql.unsafe(
        `DELETE FROM ${table} WHERE ctid = (SELECT ctid FROM ${table} WHERE sale_id = '${saleId}' ORDER BY ctid LIMIT 1)
         RETURNING to_jsonb(${table})::text AS row`,
      );
      return () =>
        admin.sql.unsafe(
          `INSERT INTO ${table} OVERRIDING SYSTEM VALUE SELECT * FROM jsonb_populate_record(NULL::${table}, $1::text::jsonb)`,
          [rows[0]!.row],
        );
    };
    wrong.push(...(await judge(`a row of ${table}`, check, damage)));
  }
  await assertAllFound(wrong);
});

test('verify fails when a key or a field in Redis is changed', async () => {
  const wrong: string[] = [];
  const judgeEntry = async (
    what: string,
    entry: KeyEntry | undefined,
    damage: (to: string | undefined) => Promise<Repair>,
  ) => {
    if (entry === undefined || (typeof entry === 'object' && 'free' in entry)) return;
    const { check, to } = typeof entry === 'string' ? { check: entry, to: undefined } : entry;
    wrong.push(...(await judge(what, check, () => damage(to))));
  };
  const judgeField = (key: 'sale' | 'stock', field: string, entry: KeyEntry | undefined) =>
    judgeEntry(`${key} ${field}`, entry, (to) =>
      damageField(client, keyOf(key), field, (value) => to ?? another(value)),
    );

  for (const key of WAITLIST_KEYS) {
    await judgeEntry(key, KEYS[key], () => deleteKey(client, keyOf(key)));
  }
  for (const field of await client.hkeys(keyOf('sale'))) {
    await judgeField('sale', field, SALE_FIELDS[field]);
  }
  for (const field of await client.hkeys(keyOf('stock'))) {
    await judgeField('stock', field, STOCK_FIELDS[field.split(':')[1]!]);
  }
  for (const [index, [field, entry]] of RECORD_FIELDS.entries()) {
    await judgeEntry(`record ${field}`, entry, (to) =>
      damageField(client, keyOf('buyers'), 'ada', fieldChange(index, to)),
    );
  }
  const short = (await client.hget(keyOf('buyers'), 'joe'))!;
  for (const [what, to] of Object.entries(SHORT_RECORDS)) {
    await judgeEntry(`a short record with ${what}`, RECORD, () =>
      damageField(client, keyOf('buyers'), 'joe', (value) => value.replace(/^AA(\w+)$/, to)),
    );
  }
  const shortFirst = short.slice('AA'.length);
  const [wholeFirst] = (await client.hkeys(keyOf('terms'))).filter((first) => first !== shortFirst);
  for (const first of [shortFirst, wholeFirst!]) {
    for (const [index, [field, entry]] of TERMS_FIELDS.entries()) {
      // The deadline of a batch without short records is nobody's any more.
      if (field === 'expiresAt' && first !== shortFirst) continue;
      await judgeEntry(`terms ${first} ${field}`, entry, (to) =>
        damageField(client, keyOf('terms'), first, fieldChange(index, to)),
      );
    }
  }
  for (const [index, [field, entry]] of LINE_FIELDS.entries()) {
    await judgeEntry(`line ${field}`, entry, async (to) => {
      const [member] = await client.zrange(keyOf('line'), '0', '0');
      const damaged = fieldChange(index, to)(member!);
      await client.multi().zrem(keyOf('line'), member!).zadd(keyOf('line'), 0, damaged).exec();
      return () =>
        client.multi().zrem(keyOf('line'), damaged).zadd(keyOf('line'), 0, member!).exec();
    });
    await judgeEntry(`waiting ${field}`, 'everybody-in-line-is-found', async (to) => {
      const [name] = await client.hkeys(keyOf('waiting'));
      return damageField(client, keyOf('waiting'), name!, fieldChange(index, to));
    });
  }
  for (const key of REBUILD_KEYS) {
    await judgeEntry(key, 'nothing-is-left-of-a-rebuild', async () => {
      await client.hset(keyOf(key), 'x', 'x');
      return () => client.del(keyOf(key));
    });
  }
  await judgeEntry('an entry of events', 'the-stream-has-what-is-not-drained', async () => {
    const dump = await client.dumpBuffer(keyOf('events'));
    await client.xadd(keyOf('events'), '*', 'v', '1', 's', '999', 'c', 'EUR', 'd', 'x');
    return () => client.restore(keyOf('events'), 0, dump, 'REPLACE');
  });
  await judgeEntry('order entry', 'first-come-first-served', async () => {
    const old = await client.lindex(keyOf('order'), 1);
    await client.lset(keyOf('order'), 1, 'thief');
    return () => client.lset(keyOf('order'), 1, old!);
  });
  for (const [what, field, change] of [
    ['a payment', '\t3', (note: string) => `${note}x`],
    ['a cancelled part', '\t2', (note: string) => note.replace('red*1', 'red*2')],
    ['a note of a reservation that has none', '\t1', () => '='],
  ] as const) {
    await judgeEntry(what, 'merchant-notes-follow-the-history', async () => {
      const old = await client.hget(keyOf('past'), field);
      await client.hset(keyOf('past'), field, change(old ?? ''));
      return () =>
        old === null ? client.hdel(keyOf('past'), field) : client.hset(keyOf('past'), field, old);
    });
  }
  await judgeEntry('a lost payment', 'merchant-notes-follow-the-history', async () => {
    const old = await client.hget(keyOf('past'), '\t3');
    await client.hdel(keyOf('past'), '\t3');
    return () => client.hset(keyOf('past'), '\t3', old!);
  });
  await judgeEntry('the units of a cancelled part', 'cancelled-parts-are-in-the-rows', async () => {
    const change = (from: string, to: string) => admin.sql`
      UPDATE reservation_events SET detail = replace(detail, ${from}, ${to})
      WHERE sale_id = ${saleId} AND strpos(detail, ${from}) > 0`;
    const [one, two] = ['"quantity":1}]', '"quantity":2}]'] as const;
    await change(one, two);
    return () => change(two, one);
  });
  await judgeEntry('score of holds', 'every-hold-has-its-deadline', async () => {
    const [member] = await client.zrange(keyOf('holds'), '0', '0');
    await client.zincrby(keyOf('holds'), 1, member!);
    return () => client.zincrby(keyOf('holds'), -1, member!);
  });
  await assertAllFound(wrong);
});
