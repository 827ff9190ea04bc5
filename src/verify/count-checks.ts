/** Checks of the counts of a sale: stock, ledger and sale operations. */
import type { SkuStock } from '../domain/sale.ts';
import { isPart, namedItems } from '../postgres/named-items.ts';
import {
  type CheckDefinition,
  counted,
  notCompared,
  some,
  type Verification,
  withHashJoins,
} from './check.ts';

/** Applying an operation takes a moment, and operators can change a sale at any time. */
const OPERATION_GRACE_MS = 5_000;

export const COUNT_CHECKS: readonly CheckDefinition[] = [
  {
    name: 'stock-adds-up',
    isExact: true,
    expected: 'for every SKU, loaded = remaining + held + confirmed',
    find: async ({ state }) =>
      perSku(state.stock, ({ loaded, remaining, held, confirmed }) =>
        loaded === remaining + held + confirmed
          ? undefined
          : `${loaded} loaded, but ${remaining} remaining + ${held} held + ${confirmed} confirmed`,
      ),
  },
  {
    name: 'nothing-is-negative',
    isExact: true,
    expected: 'no count is below 0',
    find: async ({ state }) =>
      perSku(state.stock, ({ loaded, remaining, held, confirmed }) =>
        Math.min(loaded, remaining, held, confirmed) >= 0
          ? undefined
          : `${loaded} loaded, ${remaining} remaining, ${held} held, ${confirmed} confirmed`,
      ),
  },
  {
    name: 'stock-is-what-the-ledger-says',
    expected: 'for every SKU, loaded = the sum of its applied changes in the stock ledger',
    find: async ({ servers: { sql }, saleId, state, waitForOperation, waitForEvent }) => {
      const obstacle =
        (await waitForOperation(state.operation)) ?? (await waitForEvent(state.events));
      if (obstacle !== undefined) return notCompared(obstacle);
      // Up to the operation that Redis had at that moment: the ledger can have later ones.
      const sums = await sql<{ sku: string; units: number }[]>`
        SELECT sku, sum(delta)::bigint AS units FROM stock_ledger
        WHERE sale_id = ${saleId} AND (operation <= ${state.operation} OR event <= ${state.events})
          AND outcome = 'applied' GROUP BY sku`;
      const unitsOf = new Map(sums.map(({ sku, units }) => [sku, units]));
      const inLedger = [...unitsOf.keys()].filter(
        (sku) => !state.stock.some((stock) => stock.sku === sku),
      );
      if (inLedger.length > 0) {
        return { ok: false, actual: `Redis has no stock for ${some(inLedger)}` };
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
    expected: `no operation is pending for more than ${OPERATION_GRACE_MS / 1000} s, and Redis has every applied one`,
    find: async ({ servers: { sql }, saleId, readState }) => {
      // PostgreSQL first: Redis must have every operation that was applied before.
      const [row] = await sql<{ settled: number; pending: number }[]>`
        SELECT coalesce(max(operation) FILTER (WHERE outcome <> 'pending'), 0)::bigint AS settled,
          count(*) FILTER (WHERE outcome = 'pending'
            AND created_at < now() - make_interval(secs => ${OPERATION_GRACE_MS / 1000})) AS pending
        FROM sale_operations WHERE sale_id = ${saleId}`;
      const { operation } = await readState();
      const { settled, pending } = row!;
      return {
        ok: pending === 0 && operation >= settled,
        actual: `${pending} pending for more than ${OPERATION_GRACE_MS / 1000} s; settled up to ${settled} in PostgreSQL, applied up to ${operation} in Redis`,
      };
    },
  },
  {
    name: 'never-oversold',
    expected: 'for every SKU, PostgreSQL has no more units reserved or confirmed than were loaded',
    find: async (verification) => {
      const before = verification.state;
      const withdrawn = await withdrawnUnits(verification);
      const sold = await soldUnits(verification);
      const after = await verification.readState();
      const most = await mostLoaded(verification, before.operation, after.operation);
      return perSku(after.stock, ({ sku, loaded }) => {
        const units = totalOf(sold.get(sku));
        const limit = Math.max(loaded, (most.get(sku) ?? 0) - (withdrawn.get(sku) ?? 0));
        return units <= limit ? undefined : `${units} sold, ${limit} loaded`;
      });
    },
  },
  {
    name: 'held-and-confirmed-are-rows',
    expected: 'for every SKU, PostgreSQL has as many units reserved and confirmed as Redis',
    find: async (verification) => {
      const { events, stock } = await verification.readState();
      const obstacle = await verification.waitForEvent(events);
      if (obstacle !== undefined) return notCompared(obstacle);
      const sold = await soldUnits(verification, events);
      return perSku(stock, ({ sku, held, confirmed }) => {
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

/**
 * The units of the rows as they were after an event; by default, as they are. The rows that later events changed count
 * with the status of the version before, and with the parts that were cancelled later; the history has both.
 */
async function soldUnits(
  { servers: { sql }, saleId }: Verification,
  event = Number.MAX_SAFE_INTEGER,
): Promise<Map<string, Sold>> {
  const rows = await withHashJoins(
    sql,
    (tx) => tx<(Sold & { sku: string })[]>`
    WITH later AS (
      SELECT reservation_id, min(version) AS version FROM reservation_history
      WHERE sale_id = ${saleId} AND event > ${event} GROUP BY reservation_id),
    changed AS (
      SELECT later.reservation_id, earlier.status FROM later LEFT JOIN reservation_history AS earlier
        ON earlier.sale_id = ${saleId} AND earlier.reservation_id = later.reservation_id AND earlier.version = later.version - 1),
    known AS (
      SELECT items, CASE WHEN changed.reservation_id IS NULL THEN r.status ELSE changed.status END AS status
      FROM reservations AS r LEFT JOIN changed USING (reservation_id) WHERE sale_id = ${saleId}),
    units AS (
      SELECT sku, quantity, status FROM known, jsonb_to_recordset(items) AS item(sku text, quantity bigint)
      UNION ALL
      SELECT item.sku, item.quantity, changed.status
      FROM changed JOIN reservation_events AS part
        ON part.sale_id = ${saleId} AND part.reservation_id = changed.reservation_id AND part.event > ${event}
          AND ${isPart(tx, 'part')},
        ${namedItems(tx, 'part')} AS item(sku text, quantity bigint))
    SELECT sku,
      coalesce(sum(quantity) FILTER (WHERE status = 'reserved'), 0)::bigint AS reserved,
      coalesce(sum(quantity) FILTER (WHERE status = 'confirmed'), 0)::bigint AS confirmed
    FROM units WHERE status IN ('reserved', 'confirmed') GROUP BY sku`,
  );
  return new Map(rows.map(({ sku, ...sold }) => [sku, sold]));
}

/** Units that cancellations took out of the sale, as far as PostgreSQL has them now. */
async function withdrawnUnits({
  servers: { sql },
  saleId,
}: Verification): Promise<Map<string, number>> {
  const rows = await sql<{ sku: string; units: number }[]>`
    SELECT sku, -sum(delta)::bigint AS units FROM stock_ledger
    WHERE sale_id = ${saleId} AND event IS NOT NULL GROUP BY sku`;
  return new Map(rows.map(({ sku, units }) => [sku, units]));
}

/** The most units of each SKU that operators had loaded at once from one operation to another. */
async function mostLoaded(
  { servers: { sql }, saleId }: Verification,
  from: number,
  to: number,
): Promise<Map<string, number>> {
  const rows = await sql<{ sku: string; units: number }[]>`
    SELECT sku, max(units)::bigint AS units FROM (
      SELECT sku, operation, sum(delta) OVER (PARTITION BY sku ORDER BY operation) AS units,
        lead(operation) OVER (PARTITION BY sku ORDER BY operation) AS next
      FROM stock_ledger WHERE sale_id = ${saleId} AND operation <= ${to} AND outcome IN ('applied', 'pending')) loaded
    WHERE next IS NULL OR next > ${from} GROUP BY sku`;
  return new Map(rows.map(({ sku, units }) => [sku, units]));
}

function perSku(stock: readonly SkuStock[], violationOf: (stock: SkuStock) => string | undefined) {
  const wrong: string[] = [];
  for (const one of stock) {
    const violation = violationOf(one);
    if (violation !== undefined) wrong.push(`${one.sku}: ${violation}`);
  }
  if (wrong.length > 0) return { ok: false, actual: some(wrong) };
  return { ok: true, actual: `${counted(stock.length, 'SKU')} checked` };
}
