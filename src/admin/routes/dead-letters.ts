/** Dead letters: events that PostgreSQL refused, and another try for one of them. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../domain/api-operation.ts';
import { timeSchema, tracingHeaders } from '../../domain/api-schemas.ts';
import { answer, refuse, refuseFields } from '../answer.ts';
import { decodeCursor, pageOf, pageQuery, pageSchema } from '../cursor.ts';
import type { Servers } from '../dependencies.ts';
import { writeAudit } from '../operations.ts';
import { pathIdSchema } from '../sale-schemas.ts';
import { serveOperation } from '../serve-operation.ts';
import { READ_PROBLEMS } from './problems.ts';

const deadLetterSchema = z
  .object({
    deadLetterId: z.int(),
    saleId: z.string(),
    entryId: z.string().describe('The entry of the stream that it came in.'),
    event: z.int().nullable().describe('Null: the entry as a whole could not be read.'),
    payload: z.string(),
    reason: z.string(),
    attempts: z.int(),
    createdAt: timeSchema,
    retryRequestedAt: timeSchema.nullable(),
    resolvedAt: timeSchema.nullable(),
  })
  .meta({ id: 'DeadLetter' });

const LIST = {
  operationId: 'listDeadLetters',
  method: 'GET',
  path: '/admin/v1/dead-letters',
  tag: 'Operators',
  summary: 'Events that PostgreSQL refused, newest first',
  access: 'viewer',
  headers: z.object(tracingHeaders),
  query: z.strictObject({
    ...pageQuery,
    resolved: z
      .enum(['true', 'false'])
      .default('false')
      .describe('`true`: those that were resolved; else those that were not.'),
  }),
  answers: { 200: { description: 'A page.', schema: pageSchema(deadLetterSchema) } },
  problems: READ_PROBLEMS,
} as const satisfies ApiOperation;

const RETRY = {
  operationId: 'retryDeadLetter',
  method: 'POST',
  path: '/admin/v1/dead-letters/{deadLetterId}/retry',
  tag: 'Operators',
  summary: 'Ask the persister for another try',
  access: 'operator',
  params: z.object({ deadLetterId: pathIdSchema }),
  headers: z.object(tracingHeaders),
  answers: { 202: { description: 'Asked for.', schema: deadLetterSchema } },
  problems: [...READ_PROBLEMS, 'not_found', 'invalid_transition', 'payload_too_large'],
} as const satisfies ApiOperation;

interface DeadLetterRow {
  deadLetterId: number;
  saleId: string;
  entryId: string;
  event: number | null;
  payload: string;
  reason: string;
  attempts: number;
  createdAt: Date;
  retryRequestedAt: Date | null;
  resolvedAt: Date | null;
}

const cursorShape = z.tuple([z.int().min(1)]);

export function serveDeadLetters(app: FastifyInstance, { sql }: Servers): void {
  serveOperation(app, LIST, async ({ query: { limit, cursor, resolved } }) => {
    const after = cursor === undefined ? undefined : decodeCursor(cursor, cursorShape);
    if (cursor !== undefined && !after) {
      return refuseFields({ field: 'cursor', message: 'is not a cursor of this listing' });
    }
    const rows = await sql<DeadLetterRow[]>`
      SELECT dead_letter_id, sale_id, entry_id, event, payload, reason, attempts, created_at, retry_requested_at,
        resolved_at
      FROM dead_letters
      WHERE (resolved_at IS NOT NULL) = ${resolved === 'true'}
        ${after ? sql`AND dead_letter_id < ${after[0]}` : sql``}
      ORDER BY dead_letter_id DESC LIMIT ${limit + 1}`;
    const page = pageOf(rows, limit, (row) => [row.deadLetterId]);
    return answer(200, { ...page, data: page.data.map(showDeadLetter) });
  });

  serveOperation(app, RETRY, async ({ params: { deadLetterId }, caller }) => {
    const id = /^[1-9][0-9]{0,14}$/.test(deadLetterId) ? Number(deadLetterId) : 0;
    return sql.begin(async (tx) => {
      const [row] = await tx<DeadLetterRow[]>`
        UPDATE dead_letters SET retry_requested_at = CASE WHEN resolved_at IS NULL THEN now() ELSE retry_requested_at END
        WHERE dead_letter_id = ${id}
        RETURNING dead_letter_id, sale_id, entry_id, event, payload, reason, attempts, created_at,
          retry_requested_at, resolved_at`;
      if (!row) return refuse('not_found', { detail: 'There is no dead letter of that id.' });
      if (row.resolvedAt) return refuse('invalid_transition', { from: 'resolved', to: 'retried' });
      await writeAudit(tx, row.saleId, 'retry-dead-letter', caller, { deadLetterId: id });
      return answer(202, showDeadLetter(row));
    });
  });
}

function showDeadLetter(row: DeadLetterRow): z.infer<typeof deadLetterSchema> {
  return {
    ...row,
    createdAt: row.createdAt.toISOString(),
    retryRequestedAt: row.retryRequestedAt?.toISOString() ?? null,
    resolvedAt: row.resolvedAt?.toISOString() ?? null,
  };
}
