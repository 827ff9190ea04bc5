/**
 * Serves the tables of operations on uWebSockets.js. The table gives each route its method, path and access, and each
 * path the `Allow` of its 405. Everything is resolved at registration: a request runs one closure and its handler.
 */
import type { HttpRequest, HttpResponse, TemplatedApp, WebSocketBehavior } from 'uWebSockets.js';
import type { Registry } from 'prom-client';
import { BUYER_OPERATIONS } from '../api/buyer-operations.ts';
import type { ProblemCode } from '../api/problems.ts';
import { PROCESS_OPERATIONS } from '../api/process-operations.ts';
import { healthBody } from '../process/health-server.ts';
import { type Admission, type BuyerHandler, UNAUTHORIZED } from './admission/admission.ts';
import { type BuyContext, buy, countPurchase } from './buy/buy.ts';
import { getBuyer, getReservation, getSale } from './buyer/queries.ts';
import { type ReleaseContext, release } from './buyer/release.ts';
import { join, leave, type WaitlistContext } from './buyer/waitlist.ts';
import { preflightHeaders } from './http/cors.ts';
import { type ExchangeContext, HttpExchange } from './http/http-exchange.ts';
import { invalidField } from './http/request-validation.ts';
import {
  type Header,
  json,
  noContent,
  PROBLEM_RESPONSES,
  type PreparedResponse,
  problemResponse,
  text,
} from './http/responses.ts';
import type { Live, LiveUserData } from './live/live.ts';
import { absentSaleResponse, withSale } from './sales/with-sale.ts';

const NOT_A_WEBSOCKET = invalidField('Upgrade', 'must be websocket');
const FOREIGN_ORIGIN = problemResponse('forbidden', {
  detail: 'Pages of this origin must not connect. An operator can add the origin to CORS_ORIGINS.',
});

/** Everything that a handler may use. Each handler declares the part that it takes. */
export interface HotPathContext
  extends BuyContext,
    ReleaseContext,
    WaitlistContext,
    ExchangeContext {
  live: Live;
  admission: Admission;
  registry: Registry;
  collectMetrics: () => Promise<string>;
}

const OPERATIONS = [...BUYER_OPERATIONS, ...PROCESS_OPERATIONS];
type Operation = (typeof OPERATIONS)[number];

type Serve = (response: HttpResponse, request: HttpRequest) => void;
/** HEAD gets the status and the headers of GET, and no body. */
type ServeMethod = (isHead: boolean) => Serve;

/** `Access` is a type-level tag: it ties a route to operations whose entry in the table has that access. */
interface Route<Access extends Operation['access']> {
  access: Access;
  serve: ServeMethod;
}

/** The compiler rejects a missing operation, an unknown one, and a route whose access is not that of the table. */
type Routes = { [Each in Operation as Each['operationId']]: Route<Each['access']> };

/** `id` is the path parameter. */
type PublicHandler = (exchange: HttpExchange, id: string, context: HotPathContext) => void;
type ProcessHandler = (exchange: HttpExchange, context: HotPathContext) => void;

const REGISTER = { GET: 'get', POST: 'post', DELETE: 'del' } as const;

export function registerRoutes(app: TemplatedApp, context: HotPathContext): void {
  const routes: Routes = {
    buy: buyerRoute(context, buy, countPurchase),
    getSale: publicRoute(context, getSale),
    getMine: buyerRoute(context, getBuyer),
    getReservation: buyerRoute(context, getReservation),
    giveBack: buyerRoute(context, release),
    joinWaitlist: buyerRoute(context, join),
    leaveWaitlist: buyerRoute(context, leave),
    watchSale: { access: 'public', serve: () => respondAlways(context, NOT_A_WEBSOCKET) },
    getHealth: processRoute(context, (exchange) => exchange.respond(json(200, healthBody([])))),
    getReadiness: processRoute(context, getReadiness),
    getMetrics: processRoute(context, getMetrics),
  };
  for (const [path, operations] of Map.groupBy(OPERATIONS, (operation) => operation.path)) {
    const pattern = path.replaceAll(/\{(\w+)\}/g, ':$1');
    for (const { operationId, method } of operations) {
      // Upgrade requests match this route, other requests the next.
      if (operationId === 'watchSale') app.ws(pattern, liveBehavior(app, context));
      const { serve } = routes[operationId];
      app[REGISTER[method]](pattern, traced(context, `${method} ${path}`, serve(false)));
      if (method === 'GET') app.head(pattern, serve(true));
    }
    const methods = operations.flatMap(({ method }) =>
      method === 'GET' ? ['GET', 'HEAD'] : method,
    );
    const allow = ['Allow', [...methods, 'OPTIONS'].join(', ')] as const;
    app.options(pattern, preflight(context, allow, methods));
    app.any(pattern, respondAlways(context, problemResponse('method_not_allowed', {}, [allow])));
  }
  app.any('/*', respondAlways(context, PROBLEM_RESPONSES.not_found));
}

/** Names the route of each request while traces are on. Probes and scrapes get no spans. */
function traced({ tracer }: HotPathContext, route: string, serve: Serve): Serve {
  if (!tracer || !route.includes(' /v1/')) return serve;
  return (response, request) => {
    tracer.route = route;
    serve(response, request);
    tracer.route = '';
  };
}

/**
 * Serves one request. Every request of the process passes here, so that an exception in any handler fails that request
 * only.
 */
function serveRequest(
  context: HotPathContext,
  response: HttpResponse,
  request: HttpRequest,
  isHead: boolean,
  handle: (exchange: HttpExchange, request: HttpRequest, response: HttpResponse) => void,
): void {
  const exchange = HttpExchange.begin(response, request, context, isHead);
  if (!exchange) return;
  try {
    handle(exchange, request, response);
  } catch (error) {
    exchange.fail(error);
  }
  exchange.leaveHandler();
}

/** False: a limit of the process or of the client's address has refused the request. */
function isAdmitted(
  { load, metrics, admission }: HotPathContext,
  exchange: HttpExchange,
  request: HttpRequest,
  response: HttpResponse,
): boolean {
  if (load.isOverloaded) {
    metrics.requestRefused();
    exchange.respond(PROBLEM_RESPONSES.overloaded);
    return false;
  }
  if (admission.admitsAddress(response, request, exchange.startedAt)) return true;
  exchange.respond(PROBLEM_RESPONSES.rate_limited);
  return false;
}

function publicRoute(context: HotPathContext, handle: PublicHandler): Route<'public'> {
  const serve = (exchange: HttpExchange, request: HttpRequest, response: HttpResponse) => {
    if (!isAdmitted(context, exchange, request, response)) return;
    handle(exchange, request.getParameter(0) ?? '', context);
  };
  return {
    access: 'public',
    serve: (isHead) => (response, request) =>
      serveRequest(context, response, request, isHead, serve),
  };
}

/** `onRejected` is called for a buyer without a valid token or over the rate limit. */
function buyerRoute(
  context: HotPathContext,
  handle: BuyerHandler<HotPathContext>,
  onRejected?: (exchange: HttpExchange, code: ProblemCode, context: HotPathContext) => void,
): Route<'buyer'> {
  const serve = (exchange: HttpExchange, request: HttpRequest, response: HttpResponse) => {
    if (!isAdmitted(context, exchange, request, response)) return;
    const buyer = context.admission.buyerOf(exchange, exchange.startedAt);
    if ('code' in buyer) {
      exchange.respond(buyer.response);
      onRejected?.(exchange, buyer.code, context);
    } else {
      handle(exchange, request.getParameter(0) ?? '', buyer, context);
    }
  };
  return {
    access: 'buyer',
    serve: (isHead) => (response, request) =>
      serveRequest(context, response, request, isHead, serve),
  };
}

/** Has no limits, so that a process can be monitored under any load. */
function processRoute(context: HotPathContext, handle: ProcessHandler): Route<'public'> {
  return {
    access: 'public',
    serve: (isHead) => (response, request) =>
      serveRequest(context, response, request, isHead, (exchange) => handle(exchange, context)),
  };
}

function respondAlways(context: HotPathContext, prepared: PreparedResponse): Serve {
  return (response, request) => {
    const isHead = request.getMethod() === 'head';
    serveRequest(context, response, request, isHead, (exchange) => {
      if (isAdmitted(context, exchange, request, response)) exchange.respond(prepared);
    });
  };
}

/** Answers OPTIONS. Only an origin that may read responses gets the headers of a preflight. */
function preflight(context: HotPathContext, allow: Header, methods: readonly string[]): Serve {
  const plain = noContent([allow]);
  const forListedOrigins = noContent([allow, ...preflightHeaders(methods)]);
  return (response, request) => {
    serveRequest(context, response, request, false, (exchange) => {
      if (!isAdmitted(context, exchange, request, response)) return;
      exchange.respond(exchange.isFromListedOrigin ? forListedOrigins : plain);
    });
  };
}

function liveBehavior(app: TemplatedApp, context: HotPathContext): WebSocketBehavior<LiveUserData> {
  const { live, admission } = context;
  return {
    ...live.behavior(app),
    upgrade(response, request, socketContext) {
      serveRequest(context, response, request, false, (exchange) => {
        if (!isAdmitted(context, exchange, request, response)) return;
        const [origin, host] = [request.getHeader('origin'), request.getHeader('host')];
        if (!context.cors.mayConnect(origin, host)) return exchange.respond(FOREIGN_ORIGIN);
        const address = admission.addressOf(response, request);
        const upgrade = live.parseUpgrade(address, request, socketContext);
        if (typeof upgrade === 'string') return exchange.respond(UNAUTHORIZED[upgrade].response);
        if (upgrade.buyer && !admission.admitsBuyer(upgrade.buyer, exchange.startedAt)) {
          return exchange.respond(PROBLEM_RESPONSES.rate_limited);
        }
        // A view of any age is enough: newer states are sent as soon as they are known.
        withSale(exchange, context, upgrade.saleId, Number.POSITIVE_INFINITY, (lookup) => {
          if (lookup.outcome === 'known') live.admit(exchange, upgrade, lookup.view);
          else exchange.respond(absentSaleResponse(lookup.outcome));
        });
      });
    },
  };
}

function getReadiness(exchange: HttpExchange, { shards, load }: HotPathContext): void {
  const missing = [
    ...(shards.isReady ? [] : ['redis']),
    ...(load.isDraining ? ['shutting down'] : []),
  ];
  exchange.respond(json(missing.length > 0 ? 503 : 200, healthBody(missing, shards.unfitness)));
}

function getMetrics(exchange: HttpExchange, context: HotPathContext): void {
  context
    .collectMetrics()
    .then((metrics) => exchange.respond(text(context.registry.contentType, metrics)))
    .catch((error: unknown) => exchange.fail(error));
}
