/** Archiving a sale on request; the persister archives the others some days after their end. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../api/operation.ts';
import { timeSchema } from '../../api/schemas.ts';
import { ARCHIVE_OBSTACLES, archiveSale } from '../../archive/archive-sale.ts';
import type { Caller, Servers } from '../context.ts';
import { CHANGE_PROBLEMS, type Outcome, refuse, respond } from '../http/outcome.ts';
import { OPERATOR_REQUEST, pathIdSchema } from '../http/request-schemas.ts';
import { serveOperation } from '../http/serve-operation.ts';
import { momentOf, readFromRedis } from './sale-moment.ts';
import { findSale } from './sale-store.ts';

const ARCHIVE = {
  operationId: 'archiveSale',
  method: 'POST',
  path: '/admin/v1/sales/{saleId}/archive',
  ...OPERATOR_REQUEST,
  summary: 'Archive a sale that has ended',
  description: `PostgreSQL keeps the sale, Redis only a marker. Buyers then get 410 \`sale_ended\`; queries, exports, confirmation and cancellation by the merchant keep working. It cannot be undone. The verification of the sale must pass first, so a large sale takes some seconds. A repeated request changes nothing and gets the same response. While it is impossible, the response is 409 with a \`reason\`: ${Object.keys(ARCHIVE_OBSTACLES).join(', ')}.`,
  access: 'operator',
  params: z.object({ saleId: pathIdSchema }),
  responses: {
    200: {
      description: 'The sale is archived.',
      schema: z
        .object({ saleId: z.string(), status: z.literal('ended'), archivedAt: timeSchema })
        .meta({ id: 'ArchivedSale' }),
    },
  },
  problems: [...CHANGE_PROBLEMS, 'sale_not_found', 'invalid_transition'],
} as const satisfies ApiOperation;

/** As for a verification, which is the longest part. */
const ARCHIVE_TIMEOUT_MS = 110_000;
/** Each holds a connection to PostgreSQL while it commits. */
const ARCHIVES_MAX = 3;

export function serveArchive(app: FastifyInstance, servers: Servers): void {
  const archive = async (saleId: string, caller: Caller): Promise<Outcome> => {
    const result = await archiveSale(servers, saleId, caller);
    if (result.outcome === 'archived') return showArchived(servers, saleId);
    if (result.outcome === 'unknown_sale') return refuse('sale_not_found');
    const { reason } = result;
    const reading = await readFromRedis(servers, saleId);
    const sale = await findSale(servers.sql, saleId);
    const from = sale && momentOf(sale, reading).status;
    const detail = `The sale cannot be archived now. ${ARCHIVE_OBSTACLES[reason]}`;
    return refuse('invalid_transition', { detail, reason, from, to: 'archived' });
  };
  serveOperation(app, ARCHIVE, ({ params, caller }) => archive(params.saleId, caller), {
    concurrentMax: ARCHIVES_MAX,
    timeoutMs: ARCHIVE_TIMEOUT_MS,
  });
}

async function showArchived({ sql }: Servers, saleId: string): Promise<Outcome> {
  const sale = await findSale(sql, saleId);
  if (!sale?.archivedAt) return refuse('sale_not_found');
  const archivedAt = sale.archivedAt.toISOString();
  return respond(200, { saleId, status: 'ended', archivedAt });
}
