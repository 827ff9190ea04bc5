/** Recoveries of a sale: listing them and requesting one. The persister performs them. */

import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import { timeSchema } from '../../api/schemas.ts';
import { inTransaction } from '../../postgres/connection.ts';
import type { Servers } from '../context.ts';
import { writeAudit } from '../http/audit.ts';
import {
  isRefusal,
  READ_PROBLEMS,
  type Refusal,
  refuse,
  respond,
  rowToJson,
} from '../http/outcome.ts';
import { idCursorSchema, pageQuery, pageSchema, parsePage, respondPage } from '../http/page.ts';
import { OPERATOR_REQUEST, pathIdSchema } from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';

const recoverySchema = z
  .object({
    recoveryId: z.int(),
    saleId: z.string(),
    actor: z.string().describe('`persister` if no operator requested it.'),
    state: z.enum(['requested', 'done']),
    outcome: z
      .enum(['renewed', 'rebuilt', 'removed', 'blocked'])
      .nullable()
      .describe(
        '`renewed`: Redis had lost nothing. `rebuilt`: the sale was rebuilt from PostgreSQL. `removed`: the sale had no applied operation and was removed from Redis. `blocked`: the sale stays closed; the report gives the reason. Null: not done yet.',
      ),
    report: z.looseObject({}).describe('The findings, the actions and the duration.'),
    requestedAt: timeSchema,
    finishedAt: timeSchema.nullable(),
  })
  .meta({ id: 'Recovery' });

const RECOVER = {
  operationId: 'recoverSale',
  method: 'POST',
  path: '/admin/v1/sales/{saleId}/recover',
  ...OPERATOR_REQUEST,
  summary: 'Rebuild the sale in Redis from PostgreSQL, regardless of its state',
  description:
    'Sales recover automatically; this is for a sale that was damaged manually. A persister closes, drains, rebuilds and opens the sale; meanwhile buyers get `recovering`. A repeated request joins a requested recovery that is not done, but not one that the persister began itself. The list of recoveries shows the outcome.',
  access: 'operator',
  params: z.object({ saleId: pathIdSchema }),
  responses: { 202: { description: 'The recovery is requested.', schema: recoverySchema } },
  problems: [...READ_PROBLEMS, 'sale_not_found', 'payload_too_large', 'invalid_transition'],
} as const satisfies ApiOperation;

const LIST = {
  operationId: 'listRecoveries',
  method: 'GET',
  path: '/admin/v1/sales/{saleId}/recoveries',
  ...OPERATOR_REQUEST,
  summary: 'List the recoveries of a sale, newest first',
  access: 'viewer',
  params: z.object({ saleId: pathIdSchema }),
  query: z.strictObject(pageQuery),
  responses: { 200: { description: 'A page of recoveries.', schema: pageSchema(recoverySchema) } },
  problems: [...READ_PROBLEMS, 'sale_not_found'],
} as const satisfies ApiOperation;

const NOTHING_TO_RECOVER = refuse('invalid_transition', {
  detail: 'The sale is archived: PostgreSQL alone has it, and there is nothing to recover.',
  from: 'archived',
  to: 'recovering',
});

interface RecoveryRow extends Omit<z.infer<typeof recoverySchema>, 'requestedAt' | 'finishedAt'> {
  requestedAt: Date;
  finishedAt: Date | null;
}

export function serveRecoveries(app: FastifyInstance, { sql, shards }: Servers): void {
  const columns = sql`
    recovery_id, sale_id, actor, state, outcome, report, requested_at, finished_at`;

  serveOperation(app, RECOVER, async ({ params: { saleId }, caller }) => {
    const row = await inTransaction(sql, async (tx): Promise<RecoveryRow | Refusal> => {
      // Locked: of two concurrent requests, the second finds the recovery of the first.
      const [sale] = await tx<{ isArchived: boolean }[]>`
        SELECT archived_at IS NOT NULL AS is_archived FROM sales WHERE sale_id = ${saleId} FOR NO KEY UPDATE`;
      if (!sale) return refuse('sale_not_found');
      if (sale.isArchived) return NOTHING_TO_RECOVER;
      const [present] = await tx<RecoveryRow[]>`
        SELECT ${columns} FROM sale_recoveries WHERE sale_id = ${saleId} AND state = 'requested'`;
      if (present) return present;
      const [requested] = await tx<RecoveryRow[]>`
        INSERT INTO sale_recoveries (sale_id, actor, request_id, state)
        VALUES (${saleId}, ${caller.actor}, ${caller.requestId}, 'requested')
        RETURNING ${columns}`;
      await writeAudit(tx, saleId, 'request-recovery', caller, {
        recoveryId: requested!.recoveryId,
      });
      return requested!;
    });
    if (isRefusal(row)) return row;
    await shards.publishChanged(saleId).catch(() => undefined);
    return respond(202, rowToJson(row));
  });

  serveOperation(app, LIST, async ({ params: { saleId }, query }) => {
    const page = parsePage(query, idCursorSchema);
    if (isRefusal(page)) return page;
    const { after, rowsMax } = page;
    const [sale] = await sql`SELECT FROM sales WHERE sale_id = ${saleId}`;
    if (!sale) return refuse('sale_not_found');
    const rows = await sql<RecoveryRow[]>`
      SELECT ${columns} FROM sale_recoveries
      WHERE sale_id = ${saleId} ${after ? sql`AND recovery_id < ${after[0]}` : sql``}
      ORDER BY recovery_id DESC LIMIT ${rowsMax}`;
    return respondPage(rows, page, ({ recoveryId }) => [recoveryId], rowToJson);
  });
}
