/** The report of a sale, as a file that can be mailed and opened years later. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../../api/operation.ts';
import type { Servers } from '../../context.ts';
import { READ_PROBLEMS, refuse, respond } from '../../http/outcome.ts';
import { OPERATOR_REQUEST, pathIdSchema } from '../../http/request-schemas.ts';
import { serveOperation } from '../../http/serve-operation.ts';
import { SingleFlight } from '../../http/single-flight.ts';
import { readReport } from './read-report.ts';
import { renderReport } from './render.ts';

const REPORT = {
  operationId: 'reportSale',
  method: 'GET',
  path: '/admin/v1/sales/{saleId}/report',
  ...OPERATOR_REQUEST,
  summary: 'Get a report of a sale as one HTML file',
  description:
    'The file needs nothing else: it has no script and loads nothing. It contains the stock, the timeline, the reservations by status, the recoveries, the changes by operators, and the result of a verification, which takes some seconds for a large sale. Also works for archived sales.',
  access: 'viewer',
  params: z.object({ saleId: pathIdSchema }),
  responses: {
    200: {
      description: 'The report.',
      schema: z.string(),
      contentType: 'text/html',
      headers: { 'Content-Disposition': 'An attachment, named after the sale.' },
    },
  },
  problems: [...READ_PROBLEMS, 'sale_not_found'],
} as const satisfies ApiOperation;

/** As for a verification, which is the longest part. */
const REPORT_TIMEOUT_MS = 110_000;
const REPORTS_MAX = 3;

export function serveReport(app: FastifyInstance, servers: Servers): void {
  // Joined: a report reads the whole sale.
  const reports = new SingleFlight(async (saleId) => {
    const report = await readReport(servers, saleId);
    return report && { saleId: report.sale.saleId, page: renderReport(report) };
  });
  serveOperation(
    app,
    REPORT,
    async ({ params }) => {
      const report = await reports.join(params.saleId);
      if (!report) return refuse('sale_not_found');
      return respond(200, report.page, {
        'Content-Type': 'text/html; charset=utf-8',
        'Content-Disposition': `attachment; filename="sale-${report.saleId}.html"`,
      });
    },
    { concurrentMax: REPORTS_MAX, timeoutMs: REPORT_TIMEOUT_MS },
  );
}
