/** Dead letters: events that PostgreSQL refused; another try for one of them, or its end. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import { timeSchema, tracingHeaders } from '../../api/schemas.ts';
import type { Servers } from '../context.ts';
import { writeAudit } from '../http/audit.ts';
import {
  isRefusal,
  READ_PROBLEMS,
  type Refusal,
  refuse,
  refuseFields,
  respond,
} from '../http/outcome.ts';
import { decodeCursor, pageOf, pageQuery, pageSchema } from '../http/page.ts';
import { pathIdSchema, textSchema } from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';

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
    resolvedAt: timeSchema.nullable().describe('Written after all, or discarded.'),
    discardedBy: z.string().nullable(),
    discardReason: z.string().nullable(),
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
      .describe(
        '`true`: those that were written after all or discarded; else those that still wait.',
      ),
  }),
  responses: { 200: { description: 'A page.', schema: pageSchema(deadLetterSchema) } },
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
  responses: { 202: { description: 'Asked for.', schema: deadLetterSchema } },
  problems: [...READ_PROBLEMS, 'not_found', 'invalid_transition', 'payload_too_large'],
} as const satisfies ApiOperation;

const DISCARD = {
  operationId: 'discardDeadLetter',
  method: 'POST',
  path: '/admin/v1/dead-letters/{deadLetterId}/discard',
  tag: 'Operators',
  summary: 'Give up for good what a dead letter holds',
  description:
    'For one that can never be written and holds up the recovery of its sale. PostgreSQL then never hears of the event. Redis goes by it as long as it remembers; a sale that is rebuilt goes by what PostgreSQL has: a reservation whose first event was discarded, and of which nothing later was written, is gone and its units are on sale again; any other is as its last written event left it. To go by that at once, and have `verify` say so, recover the sale. Where the buyer keeps the goods, pause the sale, discard, recover, withdraw as many units, resume. Discarding again is discarding once, with the first reason.',
  access: 'operator',
  params: z.object({ deadLetterId: pathIdSchema }),
  headers: z.object(tracingHeaders),
  body: z.strictObject({
    reason: textSchema(500)
      .regex(/\S/, { error: 'must not be empty' })
      .describe('Kept with the letter and in the audit.'),
  }),
  responses: { 200: { description: 'Discarded, now or before.', schema: deadLetterSchema } },
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
  discardedBy: string | null;
  discardReason: string | null;
}

const cursorShape = z.tuple([z.int().min(1)]);

const UNKNOWN_LETTER = refuse('not_found', { detail: 'There is no dead letter of that id.' });

export function serveDeadLetters(app: FastifyInstance, { sql, shards }: Servers): void {
  const columns = sql`
    dead_letter_id, sale_id, entry_id, event, payload, reason, attempts, created_at, retry_requested_at, resolved_at,
    discarded_by, discard_reason`;

  serveOperation(app, LIST, async ({ query: { limit, cursor, resolved } }) => {
    const after = cursor === undefined ? undefined : decodeCursor(cursor, cursorShape);
    if (cursor !== undefined && !after) {
      return refuseFields({ field: 'cursor', message: 'is not a cursor of this listing' });
    }
    const rows = await sql<DeadLetterRow[]>`
      SELECT ${columns} FROM dead_letters
      WHERE (resolved_at IS NOT NULL) = ${resolved === 'true'}
        ${after ? sql`AND dead_letter_id < ${after[0]}` : sql``}
      ORDER BY dead_letter_id DESC LIMIT ${limit + 1}`;
    const page = pageOf(rows, limit, (row) => [row.deadLetterId]);
    return respond(200, { ...page, data: page.data.map(showDeadLetter) });
  });

  serveOperation(app, RETRY, async ({ params: { deadLetterId }, caller }) => {
    const id = numberOf(deadLetterId);
    return sql.begin(async (tx) => {
      const [row] = await tx<DeadLetterRow[]>`
        UPDATE dead_letters SET retry_requested_at = CASE WHEN resolved_at IS NULL THEN now() ELSE retry_requested_at END
        WHERE dead_letter_id = ${id} RETURNING ${columns}`;
      if (!row) return UNKNOWN_LETTER;
      if (row.resolvedAt) {
        const from = row.discardReason === null ? 'resolved' : 'discarded';
        return refuse('invalid_transition', { from, to: 'retried' });
      }
      await writeAudit(tx, row.saleId, 'retry-dead-letter', caller, { deadLetterId: id });
      return respond(202, showDeadLetter(row));
    });
  });

  serveOperation(app, DISCARD, async ({ params: { deadLetterId }, body: { reason }, caller }) => {
    const id = numberOf(deadLetterId);
    const result = await sql.begin(async (tx): Promise<DeadLetterRow | Refusal> => {
      // Locked as by whoever tries it again: it is either written or discarded.
      const [row] = await tx<DeadLetterRow[]>`
        SELECT ${columns} FROM dead_letters WHERE dead_letter_id = ${id} FOR UPDATE`;
      if (!row) return UNKNOWN_LETTER;
      if (row.discardReason !== null) return row;
      if (row.resolvedAt) {
        return refuse('invalid_transition', { from: 'resolved', to: 'discarded' });
      }
      const [discarded] = await tx<DeadLetterRow[]>`
        UPDATE dead_letters
        SET resolved_at = now(), retry_requested_at = NULL, discarded_by = ${caller.actor}, discard_reason = ${reason}
        WHERE dead_letter_id = ${id} RETURNING ${columns}`;
      const details = { deadLetterId: id, event: row.event, reason };
      await writeAudit(tx, row.saleId, 'discard-dead-letter', caller, details);
      return discarded!;
    });
    if (isRefusal(result)) return result;
    // A recovery that it held up need not wait for its next try.
    await shards.publishChanged(result.saleId).catch(() => undefined);
    return respond(200, showDeadLetter(result));
  });
}

/** 0: no letter has it. */
function numberOf(deadLetterId: string): number {
  return /^[1-9][0-9]{0,14}$/.test(deadLetterId) ? Number(deadLetterId) : 0;
}

function showDeadLetter(row: DeadLetterRow): z.infer<typeof deadLetterSchema> {
  return {
    ...row,
    createdAt: row.createdAt.toISOString(),
    retryRequestedAt: row.retryRequestedAt?.toISOString() ?? null,
    resolvedAt: row.resolvedAt?.toISOString() ?? null,
  };
}
