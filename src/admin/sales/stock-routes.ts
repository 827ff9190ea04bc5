/** Loading and withdrawing stock. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import { idempotencyKeySchema, tracingHeaders } from '../../api/schemas.ts';
import type { Servers } from '../context.ts';
import { CHANGE_PROBLEMS, isRefusal, type Outcome, refuse, respond } from '../http/outcome.ts';
import { OPERATOR_REQUEST, pathIdSchema } from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';
import { decideStock } from './decide-operation.ts';
import { changeSale, type RecordedOperation } from './record-operation.ts';
import { stockChangeSchema, stockReceiptSchema } from './sale-schemas.ts';
import { loadedUnits } from './sale-store.ts';

const CHANGE_STOCK = {
  operationId: 'changeStock',
  method: 'POST',
  path: '/admin/v1/sales/{saleId}/stock',
  ...OPERATOR_REQUEST,
  summary: 'Load units of a SKU, or withdraw remaining ones',
  description:
    'Send an Idempotency-Key: requests with the same key and body change the stock once and get the same response. A withdrawal of more units than remain changes nothing. After the sale has ended, the stock cannot change; only a sale that is being recovered accepts a load, because the recovery may need missing units.',
  access: 'operator',
  params: z.object({ saleId: pathIdSchema }),
  headers: z.object({ ...tracingHeaders, 'idempotency-key': idempotencyKeySchema.optional() }),
  body: stockChangeSchema,
  responses: {
    200: {
      description: 'The stock was changed by this request or an earlier one with the same key.',
      schema: stockReceiptSchema,
      headers: { 'Idempotent-Replayed': '`true` if an earlier request changed the stock.' },
    },
  },
  problems: [
    ...CHANGE_PROBLEMS,
    'sale_not_found',
    'insufficient_stock',
    'invalid_transition',
    'idempotency_key_reused',
  ],
} as const satisfies ApiOperation;

interface LedgerRow {
  saleId: string;
  operation: number;
  sku: string;
  delta: number;
  reason: string;
  outcome: 'pending' | 'applied' | 'insufficient_stock' | 'sale_ended';
  loadedAfter: number | null;
  remainingAfter: number | null;
  createdAt: Date;
}

export function serveStock(app: FastifyInstance, servers: Servers): void {
  serveOperation(app, CHANGE_STOCK, async ({ params: { saleId }, headers, body, caller }) => {
    const idempotencyKey = headers['idempotency-key'];
    const changed = await changeSale(
      servers,
      { saleId, caller, idempotencyKey, request: body },
      async (sale, moment, tx) =>
        decideStock(sale, body, await loadedUnits(tx, saleId, body.sku), moment),
    );
    if (changed === 'unchanged') return refuse('unavailable');
    if (isRefusal(changed)) return changed;
    return receiptOf(servers, changed);
  });
}

async function receiptOf(servers: Servers, changed: RecordedOperation): Promise<Outcome> {
  const [row] = await servers.sql<LedgerRow[]>`
    SELECT sale_id, operation, sku, delta, reason, outcome, loaded_after, remaining_after, created_at
    FROM stock_ledger WHERE sale_id = ${changed.saleId} AND operation = ${changed.operation}`;
  if (!row) return refuse('sale_not_found');
  const { outcome, loadedAfter: loaded, remainingAfter: remaining, ...receipt } = row;
  if (outcome === 'insufficient_stock') {
    return refuse('insufficient_stock', {
      detail: 'Fewer units remain than this withdrawal. Nothing was changed.',
      sku: row.sku,
      remaining,
      items: [{ sku: row.sku, requested: -row.delta, available: remaining }],
    });
  }
  return respond(
    200,
    { ...receipt, loaded, remaining, createdAt: row.createdAt.toISOString() },
    changed.replayed ? { 'Idempotent-Replayed': 'true' } : {},
  );
}
