/**
 * Verifies an archived sale. Only PostgreSQL has it, so its rows are compared with each other and with the digest that
 * was made when it was archived.
 */
import { digestOf } from '../postgres/archive-digest.ts';
import { readArchivedStock } from '../postgres/archived-stock.ts';
import { inTransaction, type Sql, type Transaction } from '../postgres/connection.ts';
import { lockHistory } from '../postgres/sale-locks.ts';
import type { CheckName } from './catalogue.ts';
import { type Check, counted, type Servers, some, type Verification } from './check.ts';
import { ROW_CHECKS } from './row-checks.ts';

/** Those that compare rows with rows, and not with Redis. */
const SHARED_CHECKS = [
  'every-history-is-complete',
  'one-answer-to-each-request',
  'nobody-is-above-the-limit',
  'no-dead-letters',
] as const;

export async function isArchived(sql: Sql, saleId: string): Promise<boolean> {
  const rows = await sql`
    SELECT FROM sales WHERE sale_id = ${saleId} AND archived_at IS NOT NULL`;
  return rows.length > 0;
}

export async function verifyArchived(servers: Servers, saleId: string): Promise<Check[]> {
  const checks = await inTransaction(servers.sql, async (transaction) => {
    // A late transition changes several tables.
    await lockHistory(transaction, saleId);
    return [
      await digestCheck(transaction, saleId),
      await eventsCheck(transaction, saleId),
      await holdsCheck(transaction, saleId),
    ];
  });
  checks.push(...(await stockChecks(servers.sql, saleId)));
  for (const { name, expected, find } of ROW_CHECKS) {
    if (!SHARED_CHECKS.some((shared) => shared === name)) continue;
    const finding = await find({ servers, saleId } as Verification);
    checks.push({
      name,
      ok: finding.ok,
      expected: finding.expected ?? expected,
      actual: finding.actual,
    });
  }
  return checks;
}

async function digestCheck(transaction: Transaction, saleId: string): Promise<Check> {
  const [sale] = await transaction<{ archiveDigest: string }[]>`
    SELECT archive_digest::text FROM sales WHERE sale_id = ${saleId}`;
  const ok = sale?.archiveDigest === (await digestOf(transaction, saleId));
  return {
    name: 'the-archive-is-unchanged',
    ok,
    expected: 'every row of the sale is as it was archived, except for changes within the rules',
    actual: ok ? 'it is' : 'at least one row was changed, added or removed',
  };
}

/** The checkpoint counts the events; their numbers begin at 1 and have no gaps, except for discarded ones. */
async function eventsCheck(transaction: Transaction, saleId: string): Promise<Check> {
  const [row] = await transaction<
    { events: number; last: number; rows: number; numbers: number; letters: number }[]
  >`
    SELECT coalesce((SELECT event FROM checkpoints WHERE sale_id = ${saleId}), 0)::bigint AS events,
      coalesce(max(event), 0)::bigint AS last, count(*) AS rows, count(DISTINCT event) AS numbers,
      (SELECT count(*) FROM dead_letters WHERE sale_id = ${saleId} AND discard_reason IS NOT NULL) AS letters
    FROM reservation_history WHERE sale_id = ${saleId}`;
  const { events, last, rows, numbers, letters } = row!;
  return {
    name: 'every-event-is-kept',
    ok: last <= events && rows === numbers && (rows === events || (rows < events && letters > 0)),
    expected: `${counted(events, 'event')}${letters > 0 ? `, except ${counted(letters, 'discarded dead letter')}` : ''}`,
    actual: `${counted(rows, 'event')}, the last is ${last}${rows === numbers ? '' : ', some numbers more than once'}`,
  };
}

async function holdsCheck(transaction: Transaction, saleId: string): Promise<Check> {
  const [row] = await transaction<{ holds: number }[]>`
    SELECT count(*) AS holds FROM reservations WHERE sale_id = ${saleId} AND status = 'reserved'`;
  const { holds } = row!;
  const actual = holds === 0 ? 'none' : counted(holds, 'hold');
  return { name: 'nothing-is-held', ok: holds === 0, expected: 'no hold is left', actual };
}

async function stockChecks(sql: Sql, saleId: string): Promise<Check[]> {
  const stock = (await readArchivedStock(sql, [saleId])).get(saleId)!;
  const rows = await sql<{ sku: string; units: number }[]>`
    SELECT item.sku, sum(item.quantity)::bigint AS units
    FROM reservations, jsonb_to_recordset(items) AS item(sku text, quantity bigint)
    WHERE sale_id = ${saleId} AND status = 'confirmed' GROUP BY item.sku`;
  const sold = new Map(rows.map(({ sku, units }) => [sku, units]));
  const oversold: string[] = [];
  const differing: string[] = [];
  for (const { sku, loaded, confirmed } of stock) {
    const units = sold.get(sku) ?? 0;
    sold.delete(sku);
    if (units > loaded) oversold.push(`${sku}: ${units} sold, ${loaded} loaded`);
    if (units !== confirmed) differing.push(`${sku}: ${confirmed} counted, ${units} in the rows`);
  }
  for (const [sku, units] of sold) differing.push(`${sku}: ${units} of an unknown SKU`);
  const check = (name: CheckName, expected: string, wrong: string[]): Check => {
    const actual = wrong.length === 0 ? `${counted(stock.length, 'SKU')} checked` : some(wrong);
    return { name, ok: wrong.length === 0, expected, actual };
  };
  return [
    check(
      'never-oversold',
      'for every SKU, no more units are confirmed than were loaded',
      oversold,
    ),
    check(
      'held-and-confirmed-are-rows',
      'for every SKU, as many units are counted as confirmed as the rows have',
      differing,
    ),
  ];
}
