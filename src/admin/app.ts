/** The admin as a Fastify application that does not listen yet: hooks, error handling, routes and pages. */
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import { nanoid } from 'nanoid';
import type { ApiOperation } from '../api/operation.ts';
import { REQUEST_ID, TRACEPARENT } from '../domain/identifiers.ts';
import { http } from '../process/node-http.ts';
import type { AdminContext } from './context.ts';
import { serveDashboardPage } from './dashboard/dashboard-page.ts';
import { serveLive } from './dashboard/live/live-routes.ts';
import { serveWatchedVerification } from './dashboard/live/verification-routes.ts';
import { serveReport } from './dashboard/report/report-routes.ts';
import { describeRoutes } from './docs/openapi.ts';
import { servePages, setSecurityHeaders } from './docs/pages.ts';
import { serveHealth } from './health-routes.ts';
import { serveAudit } from './http/audit.ts';
import {
  BODY_BYTES_MAX,
  handleError,
  handleErrors,
  rejectMalformedRequest,
  rejectOtherMethods,
} from './http/error-handling.ts';
import { readJsonBodies } from './http/json-bodies.ts';
import { requirePairedServers, setHeaders } from './http/serve-operation.ts';
import { serveDeadLetters } from './recovery/dead-letter-routes.ts';
import { serveRecoveries } from './recovery/recovery-routes.ts';
import { serveBuyers } from './reservations/buyer-routes.ts';
import { serveMerchants } from './reservations/merchant-routes.ts';
import { serveReservations } from './reservations/reservation-routes.ts';
import { serveArchive } from './sales/archive-routes.ts';
import { serveSales } from './sales/sale-routes.ts';
import { serveStock } from './sales/stock-routes.ts';
import { Verifications } from './sales/verifications.ts';
import { serveVerification } from './sales/verify-routes.ts';
import { setClient } from './sign-in/client.ts';
import { requireRoles } from './sign-in/require-role.ts';
import { serveSessions } from './sign-in/session-routes.ts';
import { createSignIn } from './sign-in/sign-in.ts';
import { serveSignInLinks } from './sign-in/sign-in-link-routes.ts';
import { serveWebhooks } from './webhooks/webhook-routes.ts';

/** For receiving a whole request. */
const REQUEST_MS_MAX = 10_000;
/** For an idle connection; longer than any handler may take. */
const IDLE_MS_MAX = 120_000;
const CLOSE_SWEEP_MS = 50;
const CLOSE_GRACE_MS = 5_000;

export async function createAdminApp(context: AdminContext): Promise<FastifyInstance> {
  const log: FastifyBaseLogger = context.log;
  const app = Fastify({
    loggerInstance: log,
    logController: new LogController({
      disableRequestLogging: true,
      requestIdLogLabel: 'requestId',
    }),
    bodyLimit: BODY_BYTES_MAX,
    // Disconnect clients that send slowly or do not read.
    requestTimeout: REQUEST_MS_MAX,
    connectionTimeout: IDLE_MS_MAX,
    http: { headersTimeout: REQUEST_MS_MAX, connectionsCheckingInterval: 1_000 },
    clientErrorHandler: rejectMalformedRequest,
    forceCloseConnections: 'idle',
    // During shutdown, requests on open connections are still served, so that clients need not repeat them.
    return503OnClosing: false,
    // The schema of a path parameter limits its length, after authentication; the router must not.
    routerOptions: { maxParamLength: http.maxHeaderSize },
    genReqId: (request) => {
      const sent = request.headers['x-request-id'];
      return typeof sent === 'string' && REQUEST_ID.test(sent) ? sent : nanoid();
    },
    frameworkErrors: (error, request, reply) => {
      // A URL that cannot be parsed reaches no hook.
      reply.header('X-Request-Id', request.id);
      void handleError(error, request, reply);
    },
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);

  closeConnections(app);
  setHeaders(app);
  setClient(app, context.trustedProxies);
  setSecurityHeaders(app);
  measureRequests(app, context);
  handleErrors(app);
  readJsonBodies(app);
  const signIn = await createSignIn(app, context);
  requireRoles(app, signIn);
  requirePairedServers(app, context.pairing);
  await describeRoutes(app);
  const operations = collectOperations(app);
  const registerRejections = rejectOtherMethods(app);

  const verifications = new Verifications(context);

  serveHealth(app, context);
  serveSales(app, context);
  serveArchive(app, context);
  serveStock(app, context);
  serveReservations(app, context);
  serveMerchants(app, context);
  serveBuyers(app, context);
  serveVerification(app, context, verifications);
  serveAudit(app, context);
  serveDeadLetters(app, context);
  serveRecoveries(app, context);
  serveWebhooks(app, context);
  serveSessions(app, signIn);
  serveSignInLinks(app, signIn);
  serveDashboardPage(app);
  serveLive(app, context, signIn);
  serveWatchedVerification(app, context, verifications);
  serveReport(app, context);
  await servePages(app, () => operations);
  registerRejections(app);
  return app;
}

/** Collects the operations of all routes that are added later. */
function collectOperations(app: FastifyInstance): readonly ApiOperation[] {
  const operations: ApiOperation[] = [];
  app.addHook('onRoute', ({ config, method }) => {
    if (config?.operation && method !== 'HEAD') operations.push(config.operation);
  });
  return operations;
}

/**
 * Closes all connections at shutdown once the last response is sent, or after CLOSE_GRACE_MS, which is below the
 * process's own deadline. Node alone would keep a busy connection for its keep-alive time, and a connection without
 * any request for a minute.
 */
function closeConnections(app: FastifyInstance): void {
  let responding = 0;
  app.addHook('onRequest', async (_request, reply) => {
    responding += 1;
    reply.raw.once('close', () => {
      responding -= 1;
    });
  });
  app.addHook('preClose', async () => {
    const deadlineMs = performance.now() + CLOSE_GRACE_MS;
    const sweep = setInterval(() => {
      if (responding === 0 || performance.now() > deadlineMs) app.server.closeAllConnections();
    }, CLOSE_SWEEP_MS);
    sweep.unref();
    app.server.once('close', () => clearInterval(sweep));
  });
}

/** Logs and measures every response. */
function measureRequests(
  app: FastifyInstance,
  { metrics: { requestSeconds }, tracing }: AdminContext,
): void {
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'unknown';
    const { method, principal } = request;
    const status = reply.statusCode;
    requestSeconds.observe({ method, route, status }, reply.elapsedTime / 1000);
    // Probes and scrapes get no spans.
    if (tracing && route.startsWith('/admin/')) {
      const { traceparent } = request.headers;
      const endedAt = performance.now();
      tracing.record({
        name: `${method} ${route}`,
        kind: 'server',
        parent: typeof traceparent === 'string' && TRACEPARENT.test(traceparent) ? traceparent : '',
        startedAt: endedAt - reply.elapsedTime,
        endedAt,
        attributes: {
          'http.request.method': method,
          'http.route': route,
          'http.response.status_code': status,
          'flash_sale.request_id': request.id,
        },
        isError: status >= 500,
      });
    }
    request.log.info(
      {
        method,
        route,
        status,
        ms: Math.round(reply.elapsedTime),
        actor: principal?.actor,
        address: request.clientAddress,
      },
      'request served',
    );
  });
}
