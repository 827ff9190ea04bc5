/** A verification with its progress, as Server-Sent Events: it takes long if a sale has many reservations. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../../api/operation.ts';
import type { AdminContext } from '../../context.ts';
import { READ_PROBLEMS, refuse, respond } from '../../http/outcome.ts';
import { OPERATOR_REQUEST, pathIdSchema } from '../../http/request-schemas.ts';
import { serveOperation } from '../../http/serve-operation.ts';
import { findSale } from '../../sales/sale-store.ts';
import type { Verifications } from '../../sales/verifications.ts';
import { EVENT_STREAM_HEADERS, eventText } from './event-stream.ts';
import { Viewer } from './viewer.ts';

/** Between two events; a viewer gets the newest. */
const PROGRESS_MS = 250;

const WATCH_VERIFICATION = {
  operationId: 'watchVerification',
  method: 'GET',
  path: '/dashboard/verification',
  ...OPERATOR_REQUEST,
  tag: 'Dashboard',
  summary: 'Verify a sale, with its progress as Server-Sent Events',
  description:
    'Starts a verification, or joins the one that runs. Events `progress` with `part`, `done` and `of`, and at the end one event `report` as `GET /admin/v1/sales/{saleId}/verify` returns it, or `failed` if a server became unavailable.',
  access: 'viewer',
  query: z.strictObject({ saleId: pathIdSchema }),
  responses: {
    200: {
      description: 'A stream that ends with the report.',
      schema: z.string(),
      contentType: 'text/event-stream',
    },
  },
  problems: [...READ_PROBLEMS, 'sale_not_found'],
} as const satisfies ApiOperation;

export function serveWatchedVerification(
  app: FastifyInstance,
  { sql, log }: AdminContext,
  verifications: Verifications,
): void {
  serveOperation(app, WATCH_VERIFICATION, async ({ query: { saleId } }, { method }) => {
    if (!(await findSale(sql, saleId))) return refuse('sale_not_found');
    // Node sends no body in response to HEAD, so the stream would never end.
    if (method === 'HEAD') return respond(200, undefined, EVENT_STREAM_HEADERS);
    const viewer = new Viewer();
    let sentMs = Number.NEGATIVE_INFINITY;
    const running = verifications.run(saleId, (progress) => {
      if (performance.now() - sentMs < PROGRESS_MS) return;
      sentMs = performance.now();
      viewer.offer(eventText('progress', progress));
    });
    running.then(
      (report) => viewer.finish(eventText('report', report)),
      (error: unknown) => {
        log.warn({ err: error, saleId }, 'verification failed');
        viewer.finish(eventText('failed', {}));
      },
    );
    return respond(200, viewer, EVENT_STREAM_HEADERS);
  });
}
