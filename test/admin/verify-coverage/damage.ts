/** Damages one value in one of the servers, and returns how to repair it. */
import assert from 'node:assert/strict';
import type { Redis } from 'ioredis';
import type { Sql } from '../../../src/postgres/connection.ts';

export type Repair = () => Promise<unknown>;

/** One more for numbers, one letter more for texts. */
export function another(value: string): string {
  return /^-?\d+$/.test(value) ? String(Number(value) + 1) : `${value}x`;
}

const ANOTHER_OF_TYPE: Record<string, (column: string) => string> = {
  text: (column) => `${column} || 'x'`,
  integer: (column) => `${column} + 1`,
  bigint: (column) => `${column} + 1`,
  'timestamp with time zone': (column) => `${column} + interval '1 second'`,
};

/** Changes one column of the first row for which `where` is true and which has another value. */
export async function damageColumn(
  sql: Sql,
  target: { table: string; column: string; type: string; where: string; to: string | undefined },
): Promise<Repair> {
  const { table, column, where } = target;
  // Without its length, which the schema's name of the type leaves out.
  const type = target.type === 'character' ? 'bpchar' : target.type;
  const to = target.to ?? ANOTHER_OF_TYPE[type]?.(column);
  assert.ok(to, `a value of type ${type} needs \`to\``);
  const [row] = await sql.unsafe<{ at: string; old: string | null }[]>(
    `SELECT ctid::text AS at, ${column}::text AS old FROM ${table} WHERE ${where} AND ${column}::text <> coalesce((${to})::text, '') ORDER BY ctid LIMIT 1`,
  );
  assert.ok(row, `no row of ${table} has another ${column} where ${where}`);
  const [damaged] = await sql.unsafe<{ at: string }[]>(
    `UPDATE ${table} SET ${column} = ${to} WHERE ctid = '${row.at}' RETURNING ctid::text AS at`,
  );
  return () =>
    sql.unsafe(`UPDATE ${table} SET ${column} = $1::text::${type} WHERE ctid = '${damaged!.at}'`, [
      row.old,
    ]);
}

export async function deleteKey(redis: Redis, key: string): Promise<Repair> {
  const dump = await redis.dumpBuffer(key);
  assert.ok(dump, `${key} does not exist`);
  await redis.del(key);
  return () => redis.restore(key, 0, dump, 'REPLACE');
}

export async function damageField(
  redis: Redis,
  key: string,
  field: string,
  change: (value: string) => string,
): Promise<Repair> {
  const old = await redis.hget(key, field);
  assert.notEqual(old, null, `${key} has no field ${field}`);
  assert.notEqual(change(old!), old);
  await redis.hset(key, field, change(old!));
  return () => redis.hset(key, field, old!);
}

/** Changes one field of the texts whose fields are separated by TAB. */
export function fieldChange(index: number, to: string | undefined): (text: string) => string {
  return (text) => {
    const fields = text.split('\t');
    fields[index] = to ?? another(fields[index]!);
    return fields.join('\t');
  };
}
