/** Checks of sale operations: what each one recorded in PostgreSQL, its audit entry, and the definition in Redis. */
import { isDeepStrictEqual } from 'node:util';
import type { SaleDefinition, SkuDefinition } from '../domain/sale.ts';
import { saleKey } from '../lua/keys.ts';
import { skusOfSale } from '../postgres/sale-definition.ts';
import {
  type CheckDefinition,
  counted,
  inOneStep,
  noneOf,
  notCompared,
  type Verification,
} from './check.ts';

export const OPERATION_CHECKS: readonly CheckDefinition[] = [
  {
    name: 'redis-has-the-last-definition',
    expected: 'Redis has the definition, the prices and the limits of the last applied operation',
    find: async (verification) => {
      const { saleId, waitForOperation } = verification;
      const { sale, stock } = await readHashes(verification);
      const obstacle = await waitForOperation(Number(sale.operation));
      if (obstacle !== undefined) return notCompared(obstacle);
      const { outcome, definition } = await operationUpTo(verification, Number(sale.operation));
      if (!definition) return { ok: false, actual: 'no operation was applied' };
      const wrong = differencesOf(definition, sale);
      if (definition.saleId !== saleId) wrong.push(`the definition is of ${definition.saleId}`);
      if (sale.operationOutcome !== outcome) {
        wrong.push(`outcome ${sale.operationOutcome} in Redis, ${outcome} in PostgreSQL`);
      }
      for (const { sku, price, perBuyerLimit } of definition.skus) {
        if (Number(stock[`${sku}:price`]) !== price) {
          wrong.push(`${sku} is sold for ${stock[`${sku}:price`]}, its price is ${price}`);
        }
        const limit = stock[`${sku}:perBuyerLimit`];
        if (limit !== (perBuyerLimit === undefined ? undefined : String(perBuyerLimit))) {
          wrong.push(
            `${sku} is limited to ${limit ?? 'nothing'}, its limit is ${perBuyerLimit ?? 'none'}`,
          );
        }
      }
      const known = new Set(definition.skus.map(({ sku }) => sku));
      const foreign = Object.keys(stock).filter((field) => !known.has(field.split(':')[0]!));
      if (foreign.length > 0) wrong.push(`stock of unknown SKUs: ${foreign.join(', ')}`);
      return noneOf(wrong, `as operation ${sale.operation} defines it`);
    },
  },
  {
    name: 'the-sale-row-is-the-last-operation',
    isExact: true,
    expected: 'the rows of the sale and its SKUs are as the last recorded operation defines them',
    find: async ({ servers: { sql }, saleId }) => {
      const [row] = await sql<SaleRow[]>`
        SELECT name, currency, status, (extract(epoch FROM starts_at) * 1000)::bigint AS starts_at,
          (extract(epoch FROM ends_at) * 1000)::bigint AS ends_at, per_buyer_limit, hold_seconds, waitlist_hold_seconds,
          last_operation, sales.created_at = first.created_at AS is_created_first,
          sales.updated_at = last.created_at OR EXISTS (SELECT FROM sale_operations o WHERE o.sale_id = sales.sale_id
            AND o.outcome = 'sale_ended' AND o.applied_at = sales.updated_at) AS is_updated_last, last.definition, last.operation AS recorded, operations,
          ${skusOfSale(sql)} AS skus,
          (SELECT count(*) = max(ordinal) + 1 FROM sale_skus s WHERE s.sale_id = sales.sale_id) AS is_numbered
        FROM sales
        CROSS JOIN LATERAL (SELECT count(*) AS operations FROM sale_operations o WHERE o.sale_id = sales.sale_id) total
        LEFT JOIN sale_operations first ON first.sale_id = sales.sale_id AND first.operation = 1
        LEFT JOIN LATERAL (SELECT * FROM sale_operations o WHERE o.sale_id = sales.sale_id
          ORDER BY operation DESC LIMIT 1) last ON true
        WHERE sales.sale_id = ${saleId}`;
      if (!row?.definition) return { ok: false, actual: 'no operation is recorded' };
      const { definition, skus, lastOperation, recorded, operations, ...stored } = row;
      const fields = Object.fromEntries(
        Object.entries(stored).map(([field, value]) => [
          field,
          String((value as string | number | boolean | null) ?? ''),
        ]),
      );
      const wrong = differencesOf(definition, { ...fields, skus: JSON.stringify(skus) });
      if (lastOperation !== recorded || operations !== recorded) {
        wrong.push(`last operation ${lastOperation}, ${operations} recorded up to ${recorded}`);
      }
      if (!row.isCreatedFirst) wrong.push('created at another time than by its first operation');
      if (!row.isUpdatedLast) wrong.push('updated at another time than by its last operation');
      if (!row.isNumbered) wrong.push('its SKUs are not numbered from 0');
      return noneOf(wrong, `as operation ${recorded} defines it`);
    },
  },
  {
    name: 'every-operation-is-audited',
    isExact: true,
    expected:
      'each operation has an audit entry with the same content, and each entry an operation',
    find: async ({ servers: { sql }, saleId }) => {
      // A draft that was deleted leaves its entries. A kept start or end is recorded in an entry of its own.
      const wrong = await sql<{ operation: number; what: string }[]>`
        WITH entries AS (
          SELECT *, (details->>'operation')::bigint AS operation FROM audit_log
          WHERE sale_id = ${saleId} AND audit_id > coalesce((
            SELECT max(audit_id) FROM audit_log WHERE sale_id = ${saleId} AND action = 'delete'), 0)),
        corrections AS (
          SELECT operation, jsonb_object_agg(kept.key, kept.value ORDER BY audit_id) AS fields
          FROM entries, jsonb_each(details - 'operation') AS kept WHERE action LIKE '%\\_kept' GROUP BY operation),
        refusals AS (
          SELECT DISTINCT operation, CASE action WHEN 'end_kept' THEN 'sale_ended' ELSE action END AS outcome
          FROM entries WHERE action IN ('insufficient_stock', 'end_kept')),
        audited AS (
          SELECT operation, action, actor, request_id, occurred_at,
            details->'definition' || coalesce(fields, '{}') AS definition,
            (SELECT coalesce(jsonb_agg(change - 'reason' ORDER BY number), '[]')
             FROM jsonb_array_elements(details->'stock') WITH ORDINALITY AS stock(change, number)) AS changes,
            coalesce(refusals.outcome, 'applied') AS outcome
          FROM entries LEFT JOIN corrections USING (operation) LEFT JOIN refusals USING (operation)
          WHERE details ? 'definition')
        SELECT operation, CASE
          WHEN a.action IS NULL THEN 'has no audit entry'
          WHEN o.action IS NULL THEN 'is in the audit log only'
          WHEN a.definition <> o.definition THEN 'has another definition'
          WHEN a.changes <> o.changes THEN 'has another change of stock'
          WHEN a.outcome <> o.outcome AND o.outcome <> 'pending' THEN 'has another outcome'
          WHEN (o.applied_at IS NULL) <> (o.outcome = 'pending') THEN 'has no time of its outcome'
          ELSE 'has another action, actor, request or time' END AS what
        FROM (SELECT * FROM sale_operations WHERE sale_id = ${saleId}) o
        FULL JOIN audited a USING (operation)
        WHERE ((o.action, o.actor, o.request_id, o.created_at, o.changes)
            IS DISTINCT FROM (a.action, a.actor, a.request_id, a.occurred_at, a.changes)
          OR (a.outcome <> o.outcome AND o.outcome <> 'pending') OR (o.applied_at IS NULL) <> (o.outcome = 'pending')
          OR EXISTS (
            -- An operation that was refused because the sale had ended changes nothing, and neither do the operations
            -- that were recorded until then keep anything of it.
            SELECT FROM jsonb_each(o.definition || a.definition) AS field
            WHERE o.definition->field.key IS DISTINCT FROM a.definition->field.key AND NOT EXISTS (
              SELECT FROM sale_operations AS refused JOIN sale_operations AS kept
                ON kept.sale_id = refused.sale_id AND kept.operation < refused.operation AND kept.outcome = 'applied'
              WHERE refused.sale_id = ${saleId} AND refused.outcome = 'sale_ended' AND refused.operation <= o.operation
                AND o.created_at <= refused.applied_at AND kept.definition->field.key IS NOT DISTINCT FROM o.definition->field.key)))
        ORDER BY 1 LIMIT 20`;
      return noneOf(wrong.map(({ operation, what }) => `operation ${operation} ${what}`));
    },
  },
  {
    name: 'the-ledger-follows-the-operations',
    isExact: true,
    expected:
      'the stock ledger has each change of each operation, with its outcome and the count after it',
    find: async ({ servers: { sql }, saleId }) => {
      const wrong = await sql<{ operation: number; sku: string; what: string }[]>`
        WITH reasons AS (
          SELECT DISTINCT ON (operation, sku) (details->>'operation')::bigint AS operation, stock->>'sku' AS sku,
            stock->>'reason' AS reason
          FROM audit_log, jsonb_array_elements(details->'stock') AS stock
          WHERE sale_id = ${saleId} AND details ? 'definition' ORDER BY operation, sku, audit_id DESC),
        changes AS (
          SELECT o.operation, change->>'sku' AS sku, (change->>'delta')::bigint AS delta, o.outcome, o.created_at, reason
          FROM sale_operations o CROSS JOIN jsonb_array_elements(o.changes) AS change
          LEFT JOIN reasons ON reasons.operation = o.operation AND reasons.sku = change->>'sku'
          WHERE o.sale_id = ${saleId}),
        ledger AS (
          SELECT *, (sum(delta) FILTER (WHERE outcome = 'applied') OVER (PARTITION BY sku ORDER BY operation))::bigint AS loaded
          FROM stock_ledger WHERE sale_id = ${saleId} AND operation IS NOT NULL),
        withdrawn AS (
          SELECT sku, -sum(delta)::bigint AS units FROM stock_ledger
          WHERE sale_id = ${saleId} AND event IS NOT NULL GROUP BY sku)
        SELECT coalesce(c.operation, l.operation) AS operation, coalesce(c.sku, l.sku) AS sku, CASE
          WHEN l.sku IS NULL THEN 'is not in the ledger'
          WHEN c.sku IS NULL THEN 'is in the ledger only'
          WHEN c.delta <> l.delta THEN 'has another change'
          WHEN c.outcome <> l.outcome THEN 'has another outcome'
          WHEN (c.created_at, c.reason) IS DISTINCT FROM (l.created_at, l.reason) THEN 'has another time or reason'
          ELSE concat('has the counts ', l.loaded_after, ' and ', l.remaining_after, ' of ', l.loaded, ' loaded') END AS what
        FROM changes c FULL JOIN ledger l ON l.operation = c.operation AND l.sku = c.sku
        WHERE (c.delta, c.outcome, c.created_at, c.reason) IS DISTINCT FROM (l.delta, l.outcome, l.created_at, l.reason)
          -- Cancellations may have taken units out of the sale before. Redis may have lost some of them since, and then a
          -- rebuild has raised the floor of the positions.
          OR coalesce(l.loaded_after NOT BETWEEN CASE
            WHEN (SELECT position_floor FROM sales WHERE sale_id = ${saleId}) > 0 THEN 0
            ELSE coalesce(l.loaded, 0) - coalesce((SELECT units FROM withdrawn WHERE withdrawn.sku = l.sku), 0)
            END AND coalesce(l.loaded, 0), false)
          OR coalesce(l.remaining_after NOT BETWEEN 0 AND l.loaded_after, l.remaining_after IS NOT NULL)
        ORDER BY 1, 2 LIMIT 20`;
      return noneOf(
        wrong.map(({ operation, sku, what }) => `operation ${operation}, ${sku}, ${what}`),
      );
    },
  },
];

interface SaleRow extends Record<string, string | number | boolean | object | null> {
  definition: SaleDefinition | null;
  skus: SkuDefinition[] | null;
  lastOperation: number;
  recorded: number;
  operations: number;
  isCreatedFirst: boolean;
  isUpdatedLast: boolean;
  isNumbered: boolean;
}

type Hash = Record<string, string>;

async function readHashes({ servers, saleId }: Verification): Promise<{ sale: Hash; stock: Hash }> {
  const { client } = servers.shards.of(saleId);
  const [sale, stock] = await inOneStep(
    client.multi().hgetall(saleKey(saleId, 'sale')).hgetall(saleKey(saleId, 'stock')),
  );
  return { sale: sale as Hash, stock: stock as Hash };
}

async function operationUpTo({ servers: { sql }, saleId }: Verification, operation: number) {
  const [row] = await sql<{ outcome: string | null; definition: SaleDefinition | null }[]>`
    SELECT (SELECT outcome FROM sale_operations WHERE sale_id = ${saleId} AND operation = ${operation}) AS outcome,
      (SELECT definition FROM sale_operations
       WHERE sale_id = ${saleId} AND operation <= ${operation} AND outcome = 'applied'
       ORDER BY operation DESC LIMIT 1) AS definition`;
  return row!;
}

/** Compares every field of a definition, also those that later versions add. An empty text stands for null. */
function differencesOf(definition: SaleDefinition, stored: Hash): string[] {
  const wrong: string[] = [];
  const { saleId: _, skus, waitlistHoldSeconds, ...fields } = definition;
  // Redis does not have the field if the definition does not have it.
  const storedFields: Hash = { waitlistHoldSeconds: '', ...stored };
  for (const [field, value] of Object.entries({ ...fields, waitlistHoldSeconds })) {
    if (storedFields[field] !== String(value ?? '')) {
      wrong.push(`${field} is ${stored[field] || 'none'}, and ${value ?? 'none'} by the operation`);
    }
  }
  if (!isDeepStrictEqual(skusIn(stored.skus), skus)) {
    wrong.push(`other SKUs than the ${counted(skus.length, 'SKU')} of the operation`);
  }
  return wrong;
}

function skusIn(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '');
  } catch {
    return undefined;
  }
}
