/** The audit log: every change by an operator adds an entry; viewers list the entries of a sale. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import { timeSchema } from '../../api/schemas.ts';
import type { Sql, Transaction } from '../../postgres/connection.ts';
import type { Caller, Servers } from '../context.ts';
import { isRefusal, READ_PROBLEMS, refuse, rowToJson } from './outcome.ts';
import { idCursorSchema, pageQuery, pageSchema, parsePage, respondPage } from './page.ts';
import { OPERATOR_REQUEST, pathIdSchema } from './request-schemas.ts';
import { serveOperation } from './serve-operation.ts';

const auditEntrySchema = z
  .object({
    auditId: z.int(),
    occurredAt: timeSchema,
    actor: z.string(),
    action: z.string(),
    saleId: z.string().nullable(),
    requestId: z.string(),
    details: z.looseObject({}),
  })
  .meta({ id: 'AuditEntry' });

const AUDIT = {
  operationId: 'listAuditEntries',
  method: 'GET',
  path: '/admin/v1/sales/{saleId}/audit',
  ...OPERATOR_REQUEST,
  summary: 'List the audit entries of a sale, newest first',
  description: 'The entries remain after a draft is deleted.',
  access: 'viewer',
  params: z.object({ saleId: pathIdSchema }),
  query: z.strictObject(pageQuery),
  responses: { 200: { description: 'A page of entries.', schema: pageSchema(auditEntrySchema) } },
  problems: [...READ_PROBLEMS, 'sale_not_found'],
} as const satisfies ApiOperation;

interface AuditRow extends Omit<z.infer<typeof auditEntrySchema>, 'occurredAt'> {
  occurredAt: Date;
}

export async function writeAudit(
  tx: Sql | Transaction,
  saleId: string | null,
  action: string,
  caller: Caller,
  details: object,
): Promise<void> {
  await tx`
    INSERT INTO audit_log (actor, action, sale_id, request_id, details)
    VALUES (${caller.actor}, ${action}, ${saleId}, ${caller.requestId}, ${tx.json(details as never)})`;
}

export function serveAudit(app: FastifyInstance, { sql }: Servers): void {
  serveOperation(app, AUDIT, async ({ params: { saleId }, query }) => {
    const page = parsePage(query, idCursorSchema);
    if (isRefusal(page)) return page;
    const { after, rowsMax } = page;
    const rows = await sql<AuditRow[]>`
      SELECT audit_id, occurred_at, actor, action, sale_id, request_id, details FROM audit_log
      WHERE sale_id = ${saleId} ${after ? sql`AND audit_id < ${after[0]}` : sql``}
      ORDER BY audit_id DESC LIMIT ${rowsMax}`;
    // Every sale has the entry of its creation: without any entry, the sale never existed.
    if (rows.length === 0 && !after) return refuse('sale_not_found');
    return respondPage(rows, page, ({ auditId }) => [auditId], rowToJson);
  });
}
