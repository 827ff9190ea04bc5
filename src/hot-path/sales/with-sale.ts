/** Looks up the sale of a request, and maps an absent sale or a failure to a response. */

import type { Logger } from 'pino';
import { problemOf } from '../../api/problems.ts';
import { Fault } from '../../domain/fault.ts';
import { SALE_ID } from '../../domain/identifiers.ts';
import type { HttpExchange } from '../http/http-exchange.ts';
import { PROBLEM_RESPONSES, type PreparedResponse, problemResponse } from '../http/responses.ts';
import type { HotPathMetrics } from '../metrics/hot-path-metrics.ts';
import type { SaleLookup, SaleViews } from './sale-views.ts';

export interface FailureContext {
  metrics: HotPathMetrics;
  log: Logger;
}

export interface SaleContext extends FailureContext {
  views: SaleViews;
}

/**
 * Calls back synchronously if the view is at most `ageMsMax` old, otherwise after reading the sale from Redis. If Redis
 * fails, it responds instead of calling back.
 */
export function withSale(
  exchange: HttpExchange,
  context: SaleContext,
  saleId: string,
  ageMsMax: number,
  onSale: (lookup: SaleLookup) => void,
): void {
  const known = context.views.peek(saleId, ageMsMax, exchange.startedAt);
  if (known) {
    onSale(known);
  } else if (SALE_ID.test(saleId)) {
    context.views
      .read(saleId)
      .then(onSale)
      .catch((error: unknown) => exchange.fail(error));
  } else {
    onSale({ outcome: 'unknown_sale' });
  }
}

export function absentSaleResponse(
  outcome: Exclude<SaleLookup['outcome'], 'known'>,
): PreparedResponse {
  return PROBLEM_RESPONSES[outcome === 'unknown_sale' ? 'sale_not_found' : outcome];
}

export function notStartedResponse(startsAt: number | null): PreparedResponse {
  return problemResponse('sale_not_started', {
    startsAt: startsAt === null ? null : new Date(startsAt).toISOString(),
  });
}

export function tooManyHoldsResponse(untilMs: number, redisNow: number): PreparedResponse {
  const prepared = problemResponse('too_many_holds', { until: new Date(untilMs).toISOString() });
  const leastSeconds = Math.max(1, Math.ceil((untilMs - redisNow) / 1_000));
  return { ...prepared, retryAfter: { leastSeconds, mostSeconds: leastSeconds + 2 } };
}

/** A failed call to Redis never results in "sold out": the response shows what is known about the outcome. */
export function faultResponse(fault: Fault): PreparedResponse {
  return PROBLEM_RESPONSES[problemOf(fault)];
}

/** A fault is counted. Any other error is a bug: it is logged, and the buyer gets no detail of it. */
export function errorResponse(
  error: unknown,
  context: FailureContext,
  exchange: { requestId: string },
): PreparedResponse {
  if (error instanceof Fault) {
    context.metrics.faulted(error.code);
    return faultResponse(error);
  }
  context.metrics.handlerFailed();
  context.log.error({ err: error, requestId: exchange.requestId }, 'handler failed');
  return PROBLEM_RESPONSES.unavailable;
}
