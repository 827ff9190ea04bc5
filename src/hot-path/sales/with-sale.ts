/**
 * What every handler needs of the sale it is about, and what it says where there is none to be had: calls back at once
 * when the sale is known well enough, else after it was read.
 */
import { problemOf } from '../../api/problems.ts';
import { Fault } from '../../domain/fault.ts';
import { SALE_ID } from '../../domain/identifiers.ts';
import type { HotPathContext } from '../context.ts';
import type { HttpExchange } from '../http/http-exchange.ts';
import { PROBLEM_RESPONSES, type PreparedResponse } from '../http/responses.ts';
import type { SaleLookup } from './sale-views.ts';

/** A Redis that can't be asked is answered here; `onSale` is called otherwise. */
export function withSale(
  exchange: HttpExchange,
  parts: HotPathContext,
  saleId: string,
  ageMsMax: number,
  onSale: (lookup: SaleLookup) => void,
): void {
  const known = parts.views.peek(saleId, ageMsMax, exchange.startedAt);
  if (known) {
    onSale(known);
  } else if (SALE_ID.test(saleId)) {
    parts.views
      .read(saleId)
      .then(onSale, (error: unknown) => exchange.respond(errorResponse(error, parts, exchange)));
  } else {
    onSale({ outcome: 'unknown_sale' });
  }
}

export function absentSaleResponse(outcome: 'unknown_sale' | 'recovering'): PreparedResponse {
  return outcome === 'recovering' ? PROBLEM_RESPONSES.recovering : PROBLEM_RESPONSES.sale_not_found;
}

/** A Redis that can't be asked: what is known of the outcome decides the words, never "sold out". */
export function faultResponse(fault: Fault): PreparedResponse {
  return PROBLEM_RESPONSES[problemOf(fault)];
}

/** A fault is an ordinary bad day; anything else is a bug, told to the log and not to the buyer. */
export function errorResponse(
  error: unknown,
  parts: HotPathContext,
  exchange: HttpExchange,
): PreparedResponse {
  if (error instanceof Fault) {
    parts.metrics.faulted(error.code);
    return faultResponse(error);
  }
  parts.log.error({ err: error, requestId: exchange.requestId }, 'a handler failed');
  return PROBLEM_RESPONSES.unavailable;
}
