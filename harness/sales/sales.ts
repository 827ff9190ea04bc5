/**
 * Sales without the admin: written directly to PostgreSQL and applied in Redis by the script that admin uses. So a test
 * of one process needs no other process.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { SaleDefinition, SaleStatus } from '../../src/domain/sale.ts';
import { applyOperation, type StockChange } from '../../src/lua/operate/apply-operation.ts';
import type { SaleState } from '../../src/lua/read/read-sale.ts';
import type { Transaction } from '../../src/postgres/connection.ts';
import type { Shards } from '../../src/redis/shards.ts';
import { eventually } from '../eventually.ts';
import type { Connections } from '../servers/connections.ts';
import { saleState } from './stream.ts';

export interface SaleChoices extends Partial<SaleDefinition> {
  /** Units of the sale's only SKU, `unit`. */
  stock?: number;
}

/** Open, one SKU at a price of 1,000, one unit per buyer, unless chosen otherwise. */
export function definitionOf(chosen: Partial<SaleDefinition>): SaleDefinition {
  return {
    ...OPEN_SALE,
    saleId: `sale-${randomBytes(4).toString('hex')}`,
    skus: [{ sku: 'unit', name: 'A unit', price: 1_000 }],
    ...chosen,
  };
}

/** A sale in both servers: open, one SKU at a price of 1,000, one unit per buyer. */
export async function makeSale(
  { shards, sql }: Pick<Connections, 'shards' | 'sql'>,
  choices: SaleChoices = {},
): Promise<SaleDefinition> {
  const { stock = 100_000, ...chosen } = choices;
  const definition = definitionOf(chosen);
  const { saleId } = definition;
  const changes = [{ sku: definition.skus[0]!.sku, delta: stock }];
  await sql`
    INSERT INTO sales (sale_id, name, currency, status, per_buyer_limit, hold_seconds, waitlist_hold_seconds, last_operation)
    VALUES (${saleId}, ${definition.name}, ${definition.currency}, ${definition.status},
      ${definition.perBuyerLimit}, ${definition.holdSeconds}, ${definition.waitlistHoldSeconds ?? null}, 1)`;
  await sql`
    INSERT INTO sale_skus (sale_id, sku, ordinal, name, price, per_buyer_limit)
    SELECT ${saleId}, sku, ordinal, name, price, "perBuyerLimit"
    FROM jsonb_to_recordset(${sql.json(definition.skus.map((sku, ordinal) => ({ ...sku, ordinal })))})
      AS t(sku text, ordinal integer, name text, price bigint, "perBuyerLimit" integer)`;
  const operation = { operation: 1, timeline: 0, definition, changes };
  const reply = await shards.call(applyOperation, saleId, operation);
  if (reply.outcome !== 'applied') throw new Error(`the sale was not made: ${reply.outcome}`);
  // Recorded as applied only afterwards, as in admin. Otherwise a persister would find a sale that Redis has lost.
  await sql.begin((tx) =>
    recordOperation(tx, {
      operation: 1,
      action: 'create',
      definition,
      changes,
      outcome: 'applied',
    }),
  );
  return definition;
}

export interface RecordedOperation {
  operation: number;
  action: string;
  definition: SaleDefinition;
  changes: readonly StockChange[];
  outcome: 'applied' | 'pending';
}

/** Records an operation as admin does: the row of the sale, the operation, its changes of stock and its audit entry. */
export async function recordOperation(
  tx: Transaction,
  { operation, action, definition, changes, outcome }: RecordedOperation,
): Promise<void> {
  const { saleId, startsAt, endsAt } = definition;
  const timeOf = (ms: number | null) => (ms === null ? null : new Date(ms));
  await tx`
    UPDATE sales SET name = ${definition.name}, status = ${definition.status}, starts_at = ${timeOf(startsAt)},
      ends_at = ${timeOf(endsAt)}, per_buyer_limit = ${definition.perBuyerLimit},
      hold_seconds = ${definition.holdSeconds},
      waitlist_hold_seconds = ${definition.waitlistHoldSeconds ?? null}, last_operation = ${operation},
      updated_at = CASE ${operation}::bigint WHEN 1 THEN created_at ELSE now() END
    WHERE sale_id = ${saleId}`;
  const stored = tx.json(JSON.parse(JSON.stringify(definition)));
  await tx`
    INSERT INTO sale_operations
      (sale_id, operation, action, definition, changes, outcome, actor, request_id, created_at, applied_at)
    SELECT sale_id, ${operation}, ${action}, ${stored}, ${tx.json(changes.map((change) => ({ ...change })))},
      ${outcome}, 'test', 'test', updated_at, CASE ${outcome} WHEN 'applied' THEN updated_at END
    FROM sales WHERE sale_id = ${saleId}`;
  for (const { sku, delta } of changes) {
    await tx`
      INSERT INTO stock_ledger (sale_id, operation, sku, delta, outcome, created_at)
      SELECT sale_id, ${operation}, ${sku}, ${delta}, ${outcome}, updated_at
      FROM sales WHERE sale_id = ${saleId}`;
  }
  const stock = changes.map((change) => ({ ...change, reason: '' }));
  await tx`
    INSERT INTO audit_log (actor, action, sale_id, request_id, details, occurred_at)
    SELECT 'test', ${action}, sale_id, 'test',
      ${tx.json({ operation, definition: JSON.parse(JSON.stringify(definition)), stock })}, updated_at
    FROM sales WHERE sale_id = ${saleId}`;
}

const OPEN_SALE: Omit<SaleDefinition, 'saleId' | 'skus'> = {
  name: 'A sale',
  currency: 'EUR',
  status: 'open',
  startsAt: null,
  endsAt: null,
  perBuyerLimit: 1,
  holdSeconds: 300,
};

/** Changes the status in both servers by the next operation, as an operator would. */
export async function setStatus(
  { shards, sql }: Pick<Connections, 'shards' | 'sql'>,
  definition: SaleDefinition,
  status: SaleStatus,
): Promise<void> {
  const { saleId } = definition;
  const changed = { ...definition, status };
  const operation = (await saleState(shards, saleId)).operation + 1;
  await sql`UPDATE sales SET status = ${status}, updated_at = now() WHERE sale_id = ${saleId}`;
  const reply = await shards.call(applyOperation, saleId, {
    operation,
    timeline: 0,
    definition: changed,
    changes: [],
  });
  const recorded = { operation, action: 'patch', definition: changed, changes: [] };
  await sql.begin((tx) => recordOperation(tx, { ...recorded, outcome: 'applied' }));
  assert.equal(reply.outcome, 'applied');
  await shards.publishChanged(saleId);
}

/** A sale in Redis only, changed by operations that are numbered from 1. */
export class TestSale {
  readonly saleId: string;
  readonly #shards: Shards;
  #definition: SaleDefinition;
  #operation = 0;

  constructor(shards: Shards, definition: SaleDefinition) {
    this.#shards = shards;
    this.#definition = definition;
    this.saleId = definition.saleId;
  }

  async change(change: Partial<SaleDefinition>, stock: StockChange[] = []): Promise<void> {
    this.#definition = { ...this.#definition, ...change };
    const operation = {
      operation: ++this.#operation,
      timeline: 0,
      definition: this.#definition,
      changes: stock,
    };
    const reply = await this.#shards.call(applyOperation, this.saleId, operation);
    if (reply.outcome !== 'applied') throw new Error(`operation was not applied: ${reply.outcome}`);
    await this.#shards.publishChanged(this.saleId);
  }

  state(): Promise<SaleState> {
    return saleState(this.#shards, this.saleId);
  }

  /** Waits until Redis' clock has reached a time. */
  async untilServerTime(atMs: number): Promise<void> {
    await eventually(async () => assert.ok((await this.state()).nowMs >= atMs));
  }
}

let saleCount = 0;

/** A sale in Redis only, open by default, with `stock` units of each SKU at a price of 1,999. */
export async function openSale(
  shards: Shards,
  stock: Record<string, number>,
  definition: Partial<SaleDefinition> = {},
): Promise<TestSale> {
  const sale = new TestSale(shards, {
    ...OPEN_SALE,
    saleId: `sale-${++saleCount}-${Date.now().toString(36)}`,
    skus: Object.keys(stock).map((sku) => ({ sku, name: sku, price: 1_999 })),
    ...definition,
  });
  await sale.change(
    {},
    Object.entries(stock).map(([sku, delta]) => ({ sku, delta })),
  );
  return sale;
}
