/**
 * The buyers' API on uWebSockets.js: addresses to handlers, requests to values, values to answers. The only
 * module besides exchange.ts and live.ts that knows the server.
 */

import {
  App,
  type HttpRequest,
  type HttpResponse,
  type TemplatedApp,
  type us_listen_socket,
  us_listen_socket_close,
  us_socket_local_port,
} from 'uWebSockets.js';
import { SALE_ID } from '../domain/identifiers.ts';
import { healthBody, portTaken } from '../process/health-server.ts';
import { buy } from './buy/buy.ts';
import { BuyBodies } from './buy/buy-body.ts';
import { buyerResponse, reservationResponse, saleResponse } from './buyer/queries.ts';
import { releaseResponse } from './buyer/release.ts';
import { joinResponse, leaveResponse } from './buyer/waitlist.ts';
import type { HotPathContext } from './context.ts';
import { HttpExchange } from './http/http-exchange.ts';
import {
  json,
  PROBLEM_RESPONSES,
  type PreparedResponse,
  problemResponse,
} from './http/responses.ts';
import { VIEW_AGE_MS_MAX } from './sales/sale-views.ts';
import { absentSaleResponse, errorResponse, withSale } from './sales/with-sale.ts';

export interface HotPathServer {
  port: number;
  /** Takes no new connections; those that are open are closed with their next answer, WebSockets now. */
  stopListening(): void;
  close(): void;
}

/** Calls about one's own things that may be under way at once; each is a call to Redis of its own. */
const OWN_CALLS_MAX = 2_000;

const NOT_A_WEBSOCKET = problemResponse('invalid_request', {
  errors: [{ field: 'Upgrade', message: 'this address is for WebSockets' }],
});

/** Throws `port_taken`. */
export async function serve(
  parts: HotPathContext,
  address: { host: string; port: number; sharePort: boolean },
): Promise<HotPathServer> {
  const app = App();
  const countConnection = (_response: HttpResponse, change: number) => {
    parts.traffic.connections += change;
  };
  app.filter(countConnection);
  route(app, parts);
  const socket = await listen(app, address);
  let isListening = true;
  const stopListening = () => {
    if (!isListening) return;
    isListening = false;
    us_listen_socket_close(socket);
    parts.live.close();
  };
  return {
    port: us_socket_local_port(socket),
    stopListening,
    close: () => {
      stopListening();
      app.close();
    },
  };
}

function route(app: TemplatedApp, parts: HotPathContext): void {
  const { admission } = parts;
  const bodies = new BuyBodies();
  let ownCalls = 0;

  /** What is asked by those who watch over the process is answered however much it has to do. */
  const handleAlways = (handler: Handler) => (response: HttpResponse, request: HttpRequest) => {
    const exchange = HttpExchange.begin(response, request, parts.traffic);
    if (!exchange) return;
    handler(exchange, request, response);
    exchange.leaveHandler();
  };

  const handle = (handler: Handler) =>
    handleAlways((exchange, request, response) => {
      if (parts.traffic.isOverfull) rejectOverload(exchange, parts);
      else if (admission.admitsAddress(response, request, exchange.startedAt)) {
        handler(exchange, request, response);
      } else {
        exchange.respond(PROBLEM_RESPONSES.rate_limited);
      }
    });

  const handleBuyer = (
    handler: (exchange: HttpExchange, request: HttpRequest, buyerId: string) => void,
  ) =>
    handle((exchange, request) => {
      const buyer = admission.buyerOf(exchange, exchange.startedAt);
      if (typeof buyer === 'string') exchange.respond(PROBLEM_RESPONSES[buyer]);
      else handler(exchange, request, buyer.name);
    });

  /** Runs a call about the buyer's own things, bounded in number. */
  const callOwn = (exchange: HttpExchange, read: () => Promise<PreparedResponse>) => {
    if (ownCalls >= OWN_CALLS_MAX) {
      exchange.respond(PROBLEM_RESPONSES.overloaded);
      return;
    }
    ownCalls++;
    void read()
      .catch((error: unknown) => errorResponse(error, parts, exchange))
      .then((answer) => exchange.respond(answer))
      .finally(() => ownCalls--);
  };

  app.post(
    '/v1/sales/:saleId/buy',
    handle((exchange, request) => buy(exchange, request.getParameter(0) ?? '', parts, bodies)),
  );

  app.get(
    '/v1/sales/:saleId',
    handle((exchange, request) => {
      const saleId = request.getParameter(0) ?? '';
      withSale(exchange, parts, saleId, VIEW_AGE_MS_MAX, (lookup) => {
        exchange.respond(
          lookup.outcome === 'known'
            ? saleResponse(lookup.view)
            : absentSaleResponse(lookup.outcome),
        );
      });
    }),
  );

  app.get(
    '/v1/sales/:saleId/me',
    handleBuyer((exchange, request, buyerId) => {
      const saleId = request.getParameter(0) ?? '';
      if (!SALE_ID.test(saleId)) return exchange.respond(PROBLEM_RESPONSES.sale_not_found);
      callOwn(exchange, () => buyerResponse(parts.shards, parts.views, saleId, buyerId));
    }),
  );

  app.get(
    '/v1/reservations/:reservationId',
    handleBuyer((exchange, request, buyerId) => {
      const reservationId = request.getParameter(0) ?? '';
      callOwn(exchange, () =>
        reservationResponse(parts.shards, parts.views, reservationId, buyerId),
      );
    }),
  );

  app.post(
    '/v1/reservations/:reservationId/cancel',
    handleBuyer((exchange, request, buyerId) => {
      const reservationId = request.getParameter(0) ?? '';
      const { requestId, traceparent } = exchange;
      const asked = { reservationId, buyerId, requestId, traceparent };
      callOwn(exchange, () => releaseResponse(parts, asked));
    }),
  );

  app.post(
    '/v1/sales/:saleId/waitlist',
    handleBuyer((exchange, request, buyerId) => {
      const saleId = request.getParameter(0) ?? '';
      exchange.readBody((body) => {
        if (typeof body === 'string') return exchange.respond(PROBLEM_RESPONSES[body]);
        const bytes = Buffer.from(body);
        withSale(exchange, parts, saleId, Number.POSITIVE_INFINITY, (lookup) => {
          if (lookup.outcome !== 'known')
            return exchange.respond(absentSaleResponse(lookup.outcome));
          callOwn(exchange, async () => {
            if (parts.memory.isTight(saleId)) return PROBLEM_RESPONSES.overloaded;
            return joinResponse(parts.shards, lookup.view, buyerId, bytes);
          });
        });
      });
    }),
  );

  app.del(
    '/v1/sales/:saleId/waitlist',
    handleBuyer((exchange, request, buyerId) => {
      const saleId = request.getParameter(0) ?? '';
      withSale(exchange, parts, saleId, Number.POSITIVE_INFINITY, (lookup) => {
        if (lookup.outcome !== 'known') return exchange.respond(absentSaleResponse(lookup.outcome));
        callOwn(exchange, () => leaveResponse(parts.shards, saleId, buyerId));
      });
    }),
  );

  app.ws('/v1/sales/:saleId/live', {
    ...parts.live.behavior(app),
    upgrade: (response, request, context) => {
      const exchange = HttpExchange.begin(response, request, parts.traffic);
      if (!exchange) return;
      if (parts.traffic.isOverfull) return rejectOverload(exchange, parts);
      if (!admission.admitsAddress(response, request, exchange.startedAt)) {
        return exchange.respond(PROBLEM_RESPONSES.rate_limited);
      }
      const asked = parts.live.requestOf(
        request.getParameter(0) ?? '',
        admission.addressOf(response, request),
        request,
        context,
      );
      if (asked === undefined) return exchange.respond(PROBLEM_RESPONSES.unauthorized);
      if (asked.buyer && !admission.admitsBuyer(asked.buyer, exchange.startedAt)) {
        return exchange.respond(PROBLEM_RESPONSES.rate_limited);
      }
      // Any age will do for a view here: what is newer is told as soon as it is known.
      withSale(exchange, parts, asked.saleId, Number.POSITIVE_INFINITY, (lookup) => {
        if (lookup.outcome === 'known') parts.live.admit(exchange, asked, lookup.view);
        else exchange.respond(absentSaleResponse(lookup.outcome));
      });
      exchange.leaveHandler();
    },
  });
  app.get('/v1/sales/:saleId/live', handle(respondAlways(NOT_A_WEBSOCKET)));

  app.get(
    '/healthz',
    handleAlways((exchange) => exchange.respond(json(200, healthBody([])))),
  );

  app.get(
    '/readyz',
    handleAlways((exchange) => {
      const missing = [
        ...(parts.shards.isReady ? [] : ['redis']),
        ...(parts.traffic.draining ? ['shutting down'] : []),
      ];
      exchange.respond(json(missing.length > 0 ? 503 : 200, healthBody(missing)));
    }),
  );

  app.get(
    '/metrics',
    handleAlways((exchange) => {
      parts.measurements().then(
        (text) =>
          exchange.respond({
            status: '200 OK',
            contentType: parts.registry.contentType,
            headers: [],
            body: text,
          }),
        (error: unknown) => exchange.respond(errorResponse(error, parts, exchange)),
      );
    }),
  );

  for (const [pattern, allowed] of [
    ['/v1/sales/:saleId/buy', 'POST'],
    ['/v1/sales/:saleId/me', 'GET'],
    ['/v1/sales/:saleId/waitlist', 'POST, DELETE'],
    ['/v1/sales/:saleId/live', 'GET'],
    ['/v1/sales/:saleId', 'GET'],
    ['/v1/reservations/:reservationId/cancel', 'POST'],
    ['/v1/reservations/:reservationId', 'GET'],
    ['/healthz', 'GET'],
    ['/readyz', 'GET'],
    ['/metrics', 'GET'],
  ] as const) {
    const answer = problemResponse('method_not_allowed', {}, [['Allow', allowed]]);
    app.any(pattern, handle(respondAlways(answer)));
  }
  app.any('/*', handle(respondAlways(PROBLEM_RESPONSES.not_found)));
}

function rejectOverload(exchange: HttpExchange, { metrics }: HotPathContext): void {
  metrics.requestRejected();
  exchange.respond(PROBLEM_RESPONSES.overloaded);
}

type Handler = (exchange: HttpExchange, request: HttpRequest, response: HttpResponse) => void;

/** Whatever the method; the answer to HEAD has no body, or the next answer would be taken for it. */
function respondAlways(
  answer: PreparedResponse,
): (exchange: HttpExchange, request: HttpRequest) => void {
  const withoutBody = { ...answer, body: '' };
  return (exchange, request) =>
    exchange.respond(request.getMethod() === 'head' ? withoutBody : answer);
}

/** uWebSockets.js takes the options after host and port too, but its types know that form without a host only. */
interface ListensExclusively {
  listen(
    host: string,
    port: number,
    options: number,
    onListening: (socket: us_listen_socket | false) => void,
  ): void;
}
const LISTEN_SHARED = 0;
const LISTEN_EXCLUSIVE = 1;

function listen(
  app: TemplatedApp,
  address: { host: string; port: number; sharePort: boolean },
): Promise<us_listen_socket> {
  const { host, port, sharePort } = address;
  return new Promise((resolve, reject) => {
    (app as unknown as ListensExclusively).listen(
      host,
      port,
      sharePort ? LISTEN_SHARED : LISTEN_EXCLUSIVE,
      (socket) => {
        if (socket) resolve(socket);
        else reject(portTaken(host, port, 'HOT_PATH_PORT'));
      },
    );
  });
}
