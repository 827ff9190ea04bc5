/** Verification of a sale on request. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import type { AdminContext } from '../context.ts';
import { READ_PROBLEMS, refuse, respond } from '../http/outcome.ts';
import { OPERATOR_REQUEST, pathIdSchema } from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';
import { findSale } from './sale-store.ts';
import type { Verifications } from './verifications.ts';

const VERIFY = {
  operationId: 'verifySale',
  method: 'GET',
  path: '/admin/v1/sales/{saleId}/verify',
  ...OPERATOR_REQUEST,
  summary: 'Verify the guarantees of a sale over Redis and PostgreSQL',
  description:
    'Also works while the sale is running. Waits up to 10 seconds for PostgreSQL to catch up, then compares every reservation. The status is 200 whether the checks pass or not; see `ok`.',
  access: 'viewer',
  params: z.object({ saleId: pathIdSchema }),
  responses: {
    200: {
      description: 'Each check with its expected and actual result.',
      schema: z
        .object({
          ok: z.boolean(),
          checks: z.array(
            z.object({
              name: z.string(),
              ok: z.boolean(),
              expected: z.string(),
              actual: z.string(),
            }),
          ),
        })
        .meta({ id: 'Verification' }),
    },
  },
  problems: [...READ_PROBLEMS, 'sale_not_found'],
} as const satisfies ApiOperation;

/** Enough for millions of reservations, and below the time after which an idle connection is closed. */
const VERIFY_TIMEOUT_MS = 110_000;

export function serveVerification(
  app: FastifyInstance,
  context: AdminContext,
  verifications: Verifications,
): void {
  const verify = async (saleId: string) =>
    (await findSale(context.sql, saleId))
      ? respond(200, await verifications.run(saleId))
      : refuse('sale_not_found');
  serveOperation(app, VERIFY, ({ params }) => verify(params.saleId), {
    timeoutMs: VERIFY_TIMEOUT_MS,
  });
}
