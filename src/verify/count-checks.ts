/** What must hold of a sale's counts: the arithmetic of stock, and the ledger behind it. */
import type { SkuStock } from '../domain/sale.ts';
import { type CheckDefinition, counted, some, type Verification } from './check.ts';

/** Applying one takes a moment, and operators may change a sale all the time. */
const OPERATION_GRACE_MS = 5_000;

export const COUNT_CHECKS: readonly CheckDefinition[] = [
  {
    name: 'stock-adds-up',
    expected: 'for every SKU loaded = remaining + held + confirmed',
    find: async ({ state }) =>
      perSku(state.stock, ({ loaded, remaining, held, confirmed }) =>
        loaded === remaining + held + confirmed
          ? undefined
          : `${loaded} loaded, ${remaining} + ${held} + ${confirmed} accounted for`,
      ),
  },
  {
    name: 'nothing-is-negative',
    expected: 'no count below 0',
    find: async ({ state }) =>
      perSku(state.stock, ({ loaded, remaining, held, confirmed }) =>
        Math.min(loaded, remaining, held, confirmed) >= 0
          ? undefined
          : `${loaded} loaded, ${remaining} remaining, ${held} held, ${confirmed} confirmed`,
      ),
  },
  {
    name: 'stock-is-what-the-ledger-says',
    expected: 'for every SKU loaded = the sum of what the ledger has as applied',
    find: async ({ servers: { sql }, saleId, state }) => {
      // Up to the operation that Redis had then: later ones are in the ledger and were not in Redis yet.
      const sums = await sql<{ sku: string; units: number }[]>`
        SELECT sku, sum(delta)::bigint AS units FROM stock_ledger
        WHERE sale_id = ${saleId} AND operation <= ${state.operation} AND outcome = 'applied' GROUP BY sku`;
      const unitsOf = new Map(sums.map(({ sku, units }) => [sku, units]));
      const inLedger = [...unitsOf.keys()].filter(
        (sku) => !state.stock.some((stock) => stock.sku === sku),
      );
      if (inLedger.length > 0) {
        return { ok: false, actual: `Redis has no stock of ${some(inLedger)}` };
      }
      return perSku(state.stock, ({ sku, loaded }) =>
        loaded === (unitsOf.get(sku) ?? 0)
          ? undefined
          : `${loaded} loaded, ${unitsOf.get(sku) ?? 0} in the ledger`,
      );
    },
  },
  {
    name: 'every-operation-is-applied',
    expected: `no operation has been pending for more than ${OPERATION_GRACE_MS / 1000} s, none that was applied is missing in Redis`,
    find: async ({ servers: { sql }, saleId, readState }) => {
      // PostgreSQL first: what it has as applied before must be in Redis after.
      const [row] = await sql<{ settled: number; pending: number }[]>`
        SELECT coalesce(max(operation) FILTER (WHERE outcome <> 'pending'), 0)::bigint AS settled,
          count(*) FILTER (WHERE outcome = 'pending'
            AND created_at < now() - make_interval(secs => ${OPERATION_GRACE_MS / 1000})) AS pending
        FROM sale_operations WHERE sale_id = ${saleId}`;
      const { operation } = await readState();
      const { settled, pending } = row!;
      return {
        ok: pending === 0 && operation >= settled,
        actual: `${pending} pending for more than ${OPERATION_GRACE_MS / 1000} s; PostgreSQL has ${settled} as done, Redis has done ${operation}`,
      };
    },
  },
  {
    name: 'never-oversold',
    expected:
      'for every SKU PostgreSQL has at most as many units reserved or confirmed as were loaded',
    find: async (verification) => {
      const before = verification.state;
      const sold = await soldUnits(verification);
      const after = await verification.readState();
      // Whatever was loaded between the two readings may have been sold between them, too.
      return perSku(after.stock, ({ sku, loaded }) => {
        const loadedBefore = before.stock.find((stock) => stock.sku === sku)?.loaded ?? 0;
        const units = totalOf(sold.get(sku));
        const most = Math.max(loaded, loadedBefore);
        return units <= most ? undefined : `${units} sold, ${most} loaded`;
      });
    },
  },
  {
    name: 'held-and-confirmed-are-rows',
    expected: 'at rest, for every SKU PostgreSQL has as many units reserved and confirmed as Redis',
    find: async (verification) => {
      const before = await verification.readState();
      const reached = await verification.readCheckpoint();
      const sold = await soldUnits(verification);
      const after = await verification.readState();
      if (before.events !== after.events || before.operation !== after.operation) {
        return { ok: true, actual: 'not compared: the sale is moving' };
      }
      if (reached < before.events) {
        return { ok: true, actual: 'not compared: PostgreSQL is about to come that far' };
      }
      return perSku(after.stock, ({ sku, held, confirmed }) => {
        const rows = sold.get(sku) ?? { reserved: 0, confirmed: 0 };
        return rows.reserved === held && rows.confirmed === confirmed
          ? undefined
          : `${held} held and ${confirmed} confirmed in Redis, ${rows.reserved} and ${rows.confirmed} in PostgreSQL`;
      });
    },
  },
];

interface Sold {
  reserved: number;
  confirmed: number;
}

function totalOf(sold: Sold | undefined): number {
  return sold ? sold.reserved + sold.confirmed : 0;
}

async function soldUnits({ servers: { sql }, saleId }: Verification): Promise<Map<string, Sold>> {
  const rows = await sql<(Sold & { sku: string })[]>`
    SELECT item.sku,
      coalesce(sum(item.quantity) FILTER (WHERE status = 'reserved'), 0)::bigint AS reserved,
      coalesce(sum(item.quantity) FILTER (WHERE status = 'confirmed'), 0)::bigint AS confirmed
    FROM reservations, jsonb_to_recordset(items) AS item(sku text, quantity bigint)
    WHERE sale_id = ${saleId} AND status IN ('reserved', 'confirmed')
    GROUP BY item.sku`;
  return new Map(rows.map(({ sku, ...sold }) => [sku, sold]));
}

function perSku(stock: readonly SkuStock[], wrongWith: (stock: SkuStock) => string | undefined) {
  const wrong: string[] = [];
  for (const one of stock) {
    const what = wrongWith(one);
    if (what !== undefined) wrong.push(`${one.sku}: ${what}`);
  }
  if (wrong.length > 0) return { ok: false, actual: some(wrong) };
  return { ok: true, actual: `it holds for ${counted(stock.length, 'SKU')}` };
}
