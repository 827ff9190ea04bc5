/** The admin as one Fastify application, not yet listening: hooks, error answers, routes, pages. */
import { maxHeaderSize } from 'node:http';
import Fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import { nanoid } from 'nanoid';
import { Histogram, type Registry } from 'prom-client';
import type { ApiOperation } from '../api/operation.ts';
import { REQUEST_ID } from '../domain/identifiers.ts';
import type { AdminContext } from './context.ts';
import { describeRoutes } from './docs/openapi.ts';
import { servePages, setSecurityHeaders } from './docs/pages.ts';
import { serveHealth } from './health-routes.ts';
import { serveAudit } from './http/audit.ts';
import { createAuthenticator } from './http/authenticate.ts';
import {
  BODY_BYTES_MAX,
  handleError,
  handleErrors,
  readJsonBodies,
  rejectMalformedRequest,
  rejectOtherMethods,
} from './http/error-handling.ts';
import { createFailedAuthLimit } from './http/failed-auth-limit.ts';
import { requireRoles, setTracingHeaders } from './http/serve-operation.ts';
import { serveDeadLetters } from './recovery/dead-letter-routes.ts';
import { serveRecoveries } from './recovery/recovery-routes.ts';
import { serveMerchants } from './reservations/merchant-routes.ts';
import { serveReservations } from './reservations/reservation-routes.ts';
import { serveSales } from './sales/sale-routes.ts';
import { serveStock } from './sales/stock-routes.ts';
import { serveVerification } from './sales/verify-routes.ts';
import { serveWebhooks } from './webhooks/webhook-routes.ts';

/** From its first byte to its last. */
const REQUEST_MS_MAX = 10_000;
/** Longer than any answer takes to be found. */
const SILENCE_MS_MAX = 120_000;
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
    trustProxy: [...context.trustedProxies],
    // Whoever sends slowly, or reads nothing, does not stay.
    requestTimeout: REQUEST_MS_MAX,
    connectionTimeout: SILENCE_MS_MAX,
    http: { headersTimeout: REQUEST_MS_MAX, connectionsCheckingInterval: 1_000 },
    clientErrorHandler: rejectMalformedRequest,
    forceCloseConnections: 'idle',
    // What still comes over open connections is answered as ever: turned away, it would have to be sent again.
    return503OnClosing: false,
    // As long as a head may be: whether a part of an address is too long is for its schema to say, behind the token.
    routerOptions: { maxParamLength: maxHeaderSize },
    genReqId: (request) => {
      const sent = request.headers['x-request-id'];
      return typeof sent === 'string' && REQUEST_ID.test(sent) ? sent : nanoid();
    },
    frameworkErrors: (error, request, reply) => {
      // An address that can't be taken apart reaches no hook.
      reply.header('X-Request-Id', request.id);
      void handleError(error, request, reply);
    },
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);

  closeConnections(app);
  setTracingHeaders(app);
  setSecurityHeaders(app);
  measureRequests(app, context.metrics);
  handleErrors(app);
  readJsonBodies(app);
  requireRoles(app, createAuthenticator(context.tokens), await createFailedAuthLimit(app));
  await describeRoutes(app);
  const operations = collectOperations(app);
  const registerRejections = rejectOtherMethods(app);

  serveHealth(app, context);
  serveSales(app, context);
  serveStock(app, context);
  serveReservations(app, context);
  serveMerchants(app, context);
  serveVerification(app, context);
  serveAudit(app, context);
  serveDeadLetters(app, context);
  serveRecoveries(app, context);
  serveWebhooks(app, context);
  await servePages(app, () => operations);
  registerRejections(app);
  return app;
}

/** The operations of all routes that are added from now on. */
function collectOperations(app: FastifyInstance): readonly ApiOperation[] {
  const operations: ApiOperation[] = [];
  app.addHook('onRoute', ({ config, method }) => {
    if (config?.operation && method !== 'HEAD') operations.push(config.operation);
  });
  return operations;
}

/**
 * When the app closes, so do its connections, as soon as the last answer is out; one that takes no end is cut before
 * the process' own deadline. Left to Node, a connection that was busy at that moment would stay for its keep-alive,
 * and one that a client opened in advance, without a request, for a whole minute.
 */
function closeConnections(app: FastifyInstance): void {
  let answering = 0;
  app.addHook('onRequest', async (_request, reply) => {
    answering += 1;
    reply.raw.once('close', () => {
      answering -= 1;
    });
  });
  app.addHook('preClose', async () => {
    const deadlineMs = performance.now() + CLOSE_GRACE_MS;
    const sweep = setInterval(() => {
      if (answering === 0 || performance.now() > deadlineMs) app.server.closeAllConnections();
    }, CLOSE_SWEEP_MS);
    sweep.unref();
    app.server.once('close', () => clearInterval(sweep));
  });
}

/** One line and one measurement for each answer. */
function measureRequests(app: FastifyInstance, metrics: Registry): void {
  const seconds = new Histogram({
    name: 'admin_http_request_seconds',
    help: 'Time to answer, by route and status',
    labelNames: ['method', 'route', 'status'],
    registers: [metrics],
  });
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'unknown';
    const { method, principal } = request;
    const status = reply.statusCode;
    seconds.observe({ method, route, status }, reply.elapsedTime / 1000);
    request.log.info(
      {
        method,
        route,
        status,
        ms: Math.round(reply.elapsedTime),
        actor: principal?.actor,
        address: request.ip,
      },
      'answered',
    );
  });
}
