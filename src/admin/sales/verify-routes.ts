/** The promises, checked on demand. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import { tracingHeaders } from '../../api/schemas.ts';
import { type Report, verifySale } from '../../verify/verify.ts';
import type { Servers } from '../context.ts';
import { READ_PROBLEMS, refuse, respond } from '../http/outcome.ts';
import { pathIdSchema } from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';
import { findSale } from './sale-store.ts';

const VERIFY = {
  operationId: 'verifySale',
  method: 'GET',
  path: '/admin/v1/sales/{saleId}/verify',
  tag: 'Operators',
  summary: 'Check the promises over Redis and PostgreSQL',
  description:
    'Right also while the sale is running. Waits up to ten seconds for PostgreSQL to come level, then compares every reservation. 200 whether the promises hold or not: see `ok`.',
  access: 'viewer',
  params: z.object({ saleId: pathIdSchema }),
  headers: z.object(tracingHeaders),
  responses: {
    200: {
      description: 'Each check with what was expected and what was found.',
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

/** Of a sale of millions everything is read and compared. Less than a connection may be silent. */
const VERIFY_MS_MAX = 110_000;

export function serveVerification(app: FastifyInstance, servers: Servers): void {
  // It reads everything there is, so those who ask for the same at the same time get the same.
  const running = new Map<string, Promise<Report>>();

  const verify = async (saleId: string) => {
    if (!(await findSale(servers.sql, saleId))) return refuse('sale_not_found');
    let report = running.get(saleId);
    if (!report) {
      report = verifySale(servers, saleId).finally(() => running.delete(saleId));
      running.set(saleId, report);
    }
    return respond(200, await report);
  };
  serveOperation(app, VERIFY, ({ params }) => verify(params.saleId), {
    timeoutMs: VERIFY_MS_MAX,
  });
}
