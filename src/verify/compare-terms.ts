/**
 * Compares the terms of each batch with the row of its first reservation. The terms that a short record uses are compared
 * with its own row too; those of a batch whose records are all whole are compared only here.
 */
import { Fault } from '../domain/fault.ts';
import type { PricedItem } from '../domain/reservation.ts';
import { boughtItems, formatItems, formatPrices } from '../domain/reservation-codec.ts';
import { firstPositionOf, parseTerms } from '../domain/short-record.ts';
import type { Sql } from '../postgres/connection.ts';
import type { Verification } from './check.ts';

interface FirstRow {
  position: number;
  tag: string;
  items: PricedItem[];
  reservedAt: Date;
}

/** What is wrong with these fields of `terms`. A batch whose rows are still to come is not compared. */
export async function termsDifferences(
  { servers: { sql }, saleId }: Verification,
  fields: readonly (readonly [first: string, text: string])[],
): Promise<string[]> {
  const positions = fields.map(([first]) => firstPositionOf(first)).filter(Number.isSafeInteger);
  const rows = await firstRows(sql, saleId, positions);
  return fields.flatMap(([first, text]) => {
    try {
      const { first: position, tag, reservedAt, baskets } = parseTerms(first, text);
      const row = rows.get(position);
      if (!row) return [];
      const terms = [tag, reservedAt, baskets[0]!.items, baskets[0]!.prices].join(' ');
      const expected = [
        row.tag,
        row.reservedAt.getTime(),
        formatItems(boughtItems(row.items)),
        formatPrices(row.items),
      ].join(' ');
      return terms === expected ? [] : [`the terms ${first} are ${terms}, its row ${expected}`];
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      return [error.message];
    }
  });
}

async function firstRows(
  sql: Sql,
  saleId: string,
  positions: readonly number[],
): Promise<Map<number, FirstRow>> {
  const rows = await sql<FirstRow[]>`
    SELECT position, split_part(reservation_id, '_', 3) AS tag, items, reserved_at FROM reservations
    WHERE sale_id = ${saleId} AND position = ANY(${positions.map(String)}::text[]::bigint[])`;
  return new Map(rows.map((row) => [row.position, row]));
}
