/** Erasing a buyer's id. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import { buyerIdSchema } from '../../api/schemas.ts';
import { eraseBuyer } from '../../archive/erase-buyer.ts';
import type { Servers } from '../context.ts';
import { CHANGE_PROBLEMS, respond } from '../http/outcome.ts';
import { OPERATOR_REQUEST } from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';

const ERASE = {
  operationId: 'eraseBuyer',
  method: 'POST',
  path: '/admin/v1/buyers/{buyerId}/erase',
  ...OPERATOR_REQUEST,
  summary: "Replace a buyer's id by a pseudonym in archived sales",
  description:
    'Reservations, history, dead letters, stored webhook deliveries and the audit log of archived sales then have the pseudonym. It is random, and nothing links it to the id. Sales that are not archived are left out and listed: send the request again once they are. A repeated request finds nothing more to replace.',
  access: 'operator',
  params: z.object({ buyerId: buyerIdSchema }),
  responses: {
    200: {
      description: 'What was replaced.',
      schema: z
        .object({
          pseudonym: z.string().nullable().describe('Null: no archived sale has the id.'),
          sales: z.array(z.string()).describe('Archived sales in which the id was replaced.'),
          reservations: z.int(),
          leftOut: z
            .array(z.string())
            .describe('Sales with reservations of the buyer that are not archived.'),
        })
        .meta({ id: 'Erasure' }),
    },
  },
  problems: CHANGE_PROBLEMS,
} as const satisfies ApiOperation;

/** It searches the stored deliveries. */
const ERASE_TIMEOUT_MS = 60_000;

export function serveBuyers(app: FastifyInstance, { sql }: Servers): void {
  serveOperation(
    app,
    ERASE,
    async ({ params, caller }) => {
      const {
        pseudonym = null,
        saleIds,
        ...erased
      } = await eraseBuyer(sql, params.buyerId, caller);
      return respond(200, { pseudonym, sales: saleIds, ...erased });
    },
    { timeoutMs: ERASE_TIMEOUT_MS, concurrentMax: 2 },
  );
}
