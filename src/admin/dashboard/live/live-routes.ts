/** The live numbers of the dashboard, as Server-Sent Events. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ApiOperation } from '../../../api/operation.ts';
import type { AdminContext } from '../../context.ts';
import { READ_PROBLEMS, refuse, respond } from '../../http/outcome.ts';
import { OPERATOR_REQUEST, pathIdSchema } from '../../http/request-schemas.ts';
import { serveOperation } from '../../http/serve-operation.ts';
import { SingleFlight } from '../../http/single-flight.ts';
import { findSale } from '../../sales/sale-store.ts';
import type { Session } from '../../sign-in/sessions.ts';
import type { SignIn } from '../../sign-in/sign-in.ts';
import { EVENT_STREAM_HEADERS } from './event-stream.ts';
import { LiveEvents } from './events.ts';
import { Feeds } from './feeds.ts';

const STREAMS_MAX = 1_000;
const DROP_UNUSED_MS = 10_000;
const SIGN_OUT_CHECK_MS = 5_000;

const LIVE = {
  operationId: 'watchDashboard',
  method: 'GET',
  path: '/dashboard/live',
  ...OPERATOR_REQUEST,
  tag: 'Dashboard',
  summary: 'Watch all sales, or one, as Server-Sent Events',
  description:
    'Twice a second an event `overview`, or `sale` with `saleId`, whose data is one line of JSON (docs/DASHBOARD.md describes both). The first event comes at once. A client that reads too slowly misses events. An event `end` with a `reason` comes last. At most 1,000 streams a process.',
  access: 'viewer',
  query: z.strictObject({ saleId: pathIdSchema.optional() }),
  responses: {
    200: {
      description: 'A stream that ends with the process.',
      schema: z.string(),
      contentType: 'text/event-stream',
    },
  },
  problems: [...READ_PROBLEMS, 'sale_not_found'],
} as const satisfies ApiOperation;

export function serveLive(app: FastifyInstance, context: AdminContext, signIn: SignIn): void {
  const events = new LiveEvents(context);
  const feeds = new Feeds(context.log);
  const sales = new SingleFlight((saleId) => findSale(context.sql, saleId));
  const timer = setInterval(() => events.dropUnused(), DROP_UNUSED_MS).unref();
  app.addHook('preClose', async () => {
    clearInterval(timer);
    feeds.close();
  });

  serveOperation(
    app,
    LIVE,
    async ({ query: { saleId } }, { method, session }) => {
      const name = saleId === undefined ? 'all' : `sale ${saleId}`;
      // A feed shows that the sale exists.
      if (saleId !== undefined && !feeds.has(name) && !(await sales.join(saleId)))
        return refuse('sale_not_found');
      // Node sends no body in response to HEAD, so the stream would never end.
      if (method === 'HEAD') return respond(200, undefined, EVENT_STREAM_HEADERS);
      const isAdmitted = session ? admissionOf(session, signIn) : ALWAYS;
      const viewer =
        saleId === undefined
          ? feeds.join(name, 'overview', () => events.overview(), isAdmitted)
          : feeds.join(name, 'sale', () => events.sale(saleId), isAdmitted);
      return respond(200, viewer, EVENT_STREAM_HEADERS);
    },
    { concurrentMax: STREAMS_MAX },
  );
}

/** A token stays valid as long as the process runs. */
const ALWAYS = () => true;

/** Whether a session has not ended. A sign-out is noticed within SIGN_OUT_CHECK_MS, because each look is a call to Redis. */
function admissionOf(session: Session, { signedOut }: SignIn): () => boolean {
  let isSignedOut = false;
  let checkedMs = performance.now();
  const check = async () => {
    isSignedOut ||= await signedOut.has(session);
  };
  return () => {
    if (performance.now() - checkedMs >= SIGN_OUT_CHECK_MS) {
      checkedMs = performance.now();
      void check();
    }
    return !isSignedOut && Date.now() < session.endsAtSeconds * 1_000;
  };
}
