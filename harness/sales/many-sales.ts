/** Thousands of sales at once: inserted by a few statements, and applied in Redis by the script that admin uses. */
import { randomBytes } from 'node:crypto';
import { applyOperation } from '../../src/lua/operate/apply-operation.ts';
import type { Connections } from '../servers/connections.ts';
import { definitionOf, type SaleChoices } from './sales.ts';

const CALLS_AT_ONCE = 100;
const STOCK = 1_000;

/** As `makeSale`, `count` times. Returns their ids. */
export async function makeSales(
  { shards, sql }: Connections,
  count: number,
  choices: Omit<SaleChoices, 'saleId' | 'stock'> = {},
): Promise<string[]> {
  const saleIds = newIds(count);
  const template = definitionOf({ ...choices, saleId: '' });
  const { name, currency, status, perBuyerLimit, holdSeconds, skus } = template;
  const [sku] = skus;
  const changes = [{ sku: sku!.sku, delta: STOCK }];
  for (let from = 0; from < count; from += CALLS_AT_ONCE) {
    await Promise.all(
      saleIds.slice(from, from + CALLS_AT_ONCE).map((saleId) =>
        shards.call(applyOperation, saleId, {
          operation: 1,
          timeline: 0,
          definition: { ...template, saleId },
          changes,
        }),
      ),
    );
  }
  await sql`
    INSERT INTO sales (sale_id, name, currency, status, per_buyer_limit, hold_seconds, last_operation)
    SELECT unnest(${saleIds}::text[]), ${name}, ${currency}, ${status}, ${perBuyerLimit}, ${holdSeconds}, 1`;
  await sql`
    INSERT INTO sale_skus (sale_id, sku, ordinal, name, price)
    SELECT unnest(${saleIds}::text[]), ${sku!.sku}, 0, ${sku!.name}, ${sku!.price}::bigint`;
  await sql`
    INSERT INTO sale_operations (sale_id, operation, action, definition, changes, outcome, actor, request_id)
    SELECT id, 1, 'create', ${sql.json(JSON.parse(JSON.stringify(template)))}::jsonb || jsonb_build_object('saleId', id),
      ${sql.json(changes)}::jsonb, 'applied', 'test', 'test'
    FROM unnest(${saleIds}::text[]) AS id`;
  await sql`
    INSERT INTO stock_ledger (sale_id, operation, sku, delta, outcome)
    SELECT unnest(${saleIds}::text[]), 1, ${sku!.sku}, ${STOCK}::bigint, 'applied'`;
  return saleIds;
}

/** Archived sales in PostgreSQL only: Redis would have no more than a marker of each. */
export async function addArchivedSales(
  { sql }: Pick<Connections, 'sql'>,
  count: number,
): Promise<void> {
  await sql`
    INSERT INTO sales (sale_id, name, currency, status, per_buyer_limit, hold_seconds, last_operation,
      archived_at, archive_marked_at, archive_digest)
    SELECT unnest(${newIds(count)}::text[]), 'An archived sale', 'EUR', 'ended', 1, 300, 1, now(), now(), 0`;
}

function newIds(count: number): string[] {
  const tag = randomBytes(4).toString('hex');
  return Array.from({ length: count }, (_, index) => `many-${tag}-${index}`);
}
