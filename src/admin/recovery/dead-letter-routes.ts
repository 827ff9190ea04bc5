/** Dead letters, the events that PostgreSQL rejected: listing, retrying and discarding them. */

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
import { numericId, OPERATOR_REQUEST, pathIdSchema, textSchema } from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';

const deadLetterSchema = z
  .object({
    deadLetterId: z.int(),
    saleId: z.string(),
    entryId: z.string().describe('The stream entry that contained the event.'),
    event: z.int().nullable().describe('Null if the whole entry could not be parsed.'),
    payload: z.string(),
    reason: z.string(),
    attempts: z.int(),
    createdAt: timeSchema,
    retryRequestedAt: timeSchema.nullable(),
    resolvedAt: timeSchema.nullable().describe('When it was written in a retry, or discarded.'),
    discardedBy: z.string().nullable(),
    discardReason: z.string().nullable(),
  })
  .meta({ id: 'DeadLetter' });

const LIST = {
  operationId: 'listDeadLetters',
  method: 'GET',
  path: '/admin/v1/dead-letters',
  ...OPERATOR_REQUEST,
  summary: 'List events that PostgreSQL rejected, newest first',
  access: 'viewer',
  query: z.strictObject({
    ...pageQuery,
    resolved: z
      .enum(['true', 'false'])
      .default('false')
      .describe(
        '`true` lists those that were written in a retry or discarded; `false` lists the unresolved ones.',
      ),
  }),
  responses: {
    200: { description: 'A page of dead letters.', schema: pageSchema(deadLetterSchema) },
  },
  problems: READ_PROBLEMS,
} as const satisfies ApiOperation;

const RETRY = {
  operationId: 'retryDeadLetter',
  method: 'POST',
  path: '/admin/v1/dead-letters/{deadLetterId}/retry',
  ...OPERATOR_REQUEST,
  summary: 'Request that the persister retries the event',
  access: 'operator',
  params: z.object({ deadLetterId: pathIdSchema }),
  responses: { 202: { description: 'The retry is requested.', schema: deadLetterSchema } },
  problems: [...READ_PROBLEMS, 'not_found', 'invalid_transition', 'payload_too_large'],
} as const satisfies ApiOperation;

const DISCARD = {
  operationId: 'discardDeadLetter',
  method: 'POST',
  path: '/admin/v1/dead-letters/{deadLetterId}/discard',
  ...OPERATOR_REQUEST,
  summary: 'Discard the event of a dead letter permanently',
  description:
    'For an event that can never be written and blocks the recovery of its sale. PostgreSQL never gets the event. Redis keeps its effect until the sale is rebuilt from PostgreSQL. Then a reservation whose first event was discarded, and that has no later event in PostgreSQL, no longer exists and its units are on sale again. Any other reservation has the state of its last written event. To apply this immediately, and to make `verify` pass, recover the sale. If the buyer keeps the goods: pause the sale, discard, recover, withdraw as many units, resume. A repeated request changes nothing and keeps the first reason.',
  access: 'operator',
  params: z.object({ deadLetterId: pathIdSchema }),
  body: z.strictObject({
    reason: textSchema(500)
      .regex(/\S/, { error: 'must not be empty' })
      .describe('Stored with the dead letter and in the audit log.'),
  }),
  responses: {
    200: { description: 'Discarded by this request or an earlier one.', schema: deadLetterSchema },
  },
  problems: [...READ_PROBLEMS, 'not_found', 'invalid_transition', 'payload_too_large'],
} as const satisfies ApiOperation;

type DeadLetterJson = z.infer<typeof deadLetterSchema>;

interface DeadLetterRow
  extends Omit<DeadLetterJson, 'createdAt' | 'retryRequestedAt' | 'resolvedAt'> {
  createdAt: Date;
  retryRequestedAt: Date | null;
  resolvedAt: Date | null;
}

const UNKNOWN_LETTER = refuse('not_found', { detail: 'There is no dead letter with that id.' });

export function serveDeadLetters(app: FastifyInstance, { sql, shards }: Servers): void {
  const columns = sql`
    dead_letter_id, sale_id, entry_id, event, payload, reason, attempts, created_at, retry_requested_at, resolved_at,
    discarded_by, discard_reason`;

  serveOperation(app, LIST, async ({ query }) => {
    const page = parsePage(query, idCursorSchema);
    if (isRefusal(page)) return page;
    const { after, rowsMax } = page;
    const rows = await sql<DeadLetterRow[]>`
      SELECT ${columns} FROM dead_letters
      WHERE (resolved_at IS NOT NULL) = ${query.resolved === 'true'}
        ${after ? sql`AND dead_letter_id < ${after[0]}` : sql``}
      ORDER BY dead_letter_id DESC LIMIT ${rowsMax}`;
    return respondPage(rows, page, ({ deadLetterId }) => [deadLetterId], rowToJson);
  });

  serveOperation(app, RETRY, async ({ params: { deadLetterId }, caller }) => {
    const id = numericId(deadLetterId);
    return inTransaction(sql, async (tx) => {
      const [row] = await tx<DeadLetterRow[]>`
        UPDATE dead_letters SET retry_requested_at = CASE WHEN resolved_at IS NULL THEN now() ELSE retry_requested_at END
        WHERE dead_letter_id = ${id} RETURNING ${columns}`;
      if (!row) return UNKNOWN_LETTER;
      if (row.resolvedAt) {
        const from = row.discardReason === null ? 'resolved' : 'discarded';
        return refuse('invalid_transition', { from, to: 'retried' });
      }
      await writeAudit(tx, row.saleId, 'retry-dead-letter', caller, { deadLetterId: id });
      return respond(202, rowToJson(row));
    });
  });

  serveOperation(app, DISCARD, async ({ params: { deadLetterId }, body: { reason }, caller }) => {
    const id = numericId(deadLetterId);
    const result = await inTransaction(sql, async (tx): Promise<DeadLetterRow | Refusal> => {
      // The persister locks the row for a retry, so the event is either written or discarded.
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
    // Prompts the recovery that the dead letter blocked.
    await shards.publishChanged(result.saleId).catch(() => undefined);
    return respond(200, rowToJson(result));
  });
}
