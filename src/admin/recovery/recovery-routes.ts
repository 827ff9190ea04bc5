/** Recoveries: how each of a sale's went, and one by hand. The persister does them. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import { timeSchema, tracingHeaders } from '../../api/schemas.ts';
import type { Servers } from '../context.ts';
import { writeAudit } from '../http/audit.ts';
import { READ_PROBLEMS, refuse, refuseFields, respond } from '../http/outcome.ts';
import { decodeCursor, pageOf, pageQuery, pageSchema } from '../http/page.ts';
import { pathIdSchema } from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';

const recoverySchema = z
  .object({
    recoveryId: z.int(),
    saleId: z.string(),
    actor: z.string().describe('`persister` where nobody asked for it.'),
    state: z.enum(['requested', 'done']),
    outcome: z
      .enum(['renewed', 'rebuilt', 'removed', 'blocked'])
      .nullable()
      .describe(
        '`renewed`: Redis had lost nothing. `rebuilt`: from PostgreSQL. `removed`: it had never taken an operation. `blocked`: it stays closed, and the report says why. Null: not done yet.',
      ),
    report: z.looseObject({}).describe('What was found, what was done, and how long it took.'),
    requestedAt: timeSchema,
    finishedAt: timeSchema.nullable(),
  })
  .meta({ id: 'Recovery' });

const RECOVER = {
  operationId: 'recoverSale',
  method: 'POST',
  path: '/admin/v1/sales/{saleId}/recover',
  tag: 'Operators',
  summary: 'Rebuild the sale in Redis from PostgreSQL, whatever state it is in',
  description:
    'Sales recover by themselves; this is for one that a hand has damaged. The sale is closed, drained, rebuilt and opened by a persister; buyers meanwhile get `recovering`. Asking again before it is done is asking once; a recovery that is under way already does not count. The outcome is among the recoveries.',
  access: 'operator',
  params: z.object({ saleId: pathIdSchema }),
  headers: z.object(tracingHeaders),
  responses: { 202: { description: 'Asked for.', schema: recoverySchema } },
  problems: [...READ_PROBLEMS, 'sale_not_found', 'payload_too_large'],
} as const satisfies ApiOperation;

const LIST = {
  operationId: 'listRecoveries',
  method: 'GET',
  path: '/admin/v1/sales/{saleId}/recoveries',
  tag: 'Operators',
  summary: 'How the sale was recovered, newest first',
  access: 'viewer',
  params: z.object({ saleId: pathIdSchema }),
  headers: z.object(tracingHeaders),
  query: z.strictObject(pageQuery),
  responses: { 200: { description: 'A page.', schema: pageSchema(recoverySchema) } },
  problems: [...READ_PROBLEMS, 'sale_not_found'],
} as const satisfies ApiOperation;

interface RecoveryRow {
  recoveryId: number;
  saleId: string;
  actor: string;
  state: 'requested' | 'done';
  outcome: 'renewed' | 'rebuilt' | 'removed' | 'blocked' | null;
  report: Record<string, unknown>;
  requestedAt: Date;
  finishedAt: Date | null;
}

const cursorShape = z.tuple([z.int().min(1)]);

export function serveRecoveries(app: FastifyInstance, { sql, shards }: Servers): void {
  serveOperation(app, RECOVER, async ({ params: { saleId }, caller }) => {
    const row = await sql.begin(async (tx) => {
      // Locked, so that of two who ask at once the second finds what the first asked for.
      const [sale] = await tx`SELECT FROM sales WHERE sale_id = ${saleId} FOR NO KEY UPDATE`;
      if (!sale) return undefined;
      const [present] = await tx<RecoveryRow[]>`
        SELECT recovery_id, sale_id, actor, state, outcome, report, requested_at, finished_at
        FROM sale_recoveries WHERE sale_id = ${saleId} AND state = 'requested'`;
      if (present) return present;
      const [asked] = await tx<RecoveryRow[]>`
        INSERT INTO sale_recoveries (sale_id, actor, request_id, state)
        VALUES (${saleId}, ${caller.actor}, ${caller.requestId}, 'requested')
        RETURNING recovery_id, sale_id, actor, state, outcome, report, requested_at, finished_at`;
      await writeAudit(tx, saleId, 'request-recovery', caller, { recoveryId: asked!.recoveryId });
      return asked;
    });
    if (!row) return refuse('sale_not_found');
    await shards.publishChanged(saleId).catch(() => undefined);
    return respond(202, showRecovery(row));
  });

  serveOperation(app, LIST, async ({ params: { saleId }, query: { limit, cursor } }) => {
    const after = cursor === undefined ? undefined : decodeCursor(cursor, cursorShape);
    if (cursor !== undefined && !after) {
      return refuseFields({ field: 'cursor', message: 'is not a cursor of this listing' });
    }
    const [sale] = await sql`SELECT FROM sales WHERE sale_id = ${saleId}`;
    if (!sale) return refuse('sale_not_found');
    const rows = await sql<RecoveryRow[]>`
      SELECT recovery_id, sale_id, actor, state, outcome, report, requested_at, finished_at
      FROM sale_recoveries
      WHERE sale_id = ${saleId} ${after ? sql`AND recovery_id < ${after[0]}` : sql``}
      ORDER BY recovery_id DESC LIMIT ${limit + 1}`;
    const page = pageOf(rows, limit, (row) => [row.recoveryId]);
    return respond(200, { ...page, data: page.data.map(showRecovery) });
  });
}

function showRecovery(row: RecoveryRow): z.infer<typeof recoverySchema> {
  return {
    ...row,
    requestedAt: row.requestedAt.toISOString(),
    finishedAt: row.finishedAt?.toISOString() ?? null,
  };
}
