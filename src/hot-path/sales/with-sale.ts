/**
 * What every handler needs of the sale it is about, and what it says where there is none to be had: calls back at once
 * when the sale is known well enough, else after it was read.
 */
import { Fault } from '../../domain/fault.ts';
import { SALE_ID } from '../../domain/identifiers.ts';
import { isOutOfMemory } from '../../redis/out-of-memory.ts';
import type { HotPathParts } from '../context.ts';
import type { Exchange } from '../http/http-exchange.ts';
import { type Answer, REFUSALS } from '../http/responses.ts';
import type { Lookup } from './sale-views.ts';

/** A Redis that can't be asked is answered here; `onLookup` is called otherwise. */
export function withLookup(
  exchange: Exchange,
  parts: HotPathParts,
  saleId: string,
  ageMsMax: number,
  onLookup: (lookup: Lookup) => void,
): void {
  const known = parts.views.peek(saleId, ageMsMax, exchange.startedAt);
  if (known) {
    onLookup(known);
  } else if (SALE_ID.test(saleId)) {
    parts.views
      .read(saleId)
      .then(onLookup, (error: unknown) => exchange.answer(unexpected(error, parts, exchange)));
  } else {
    onLookup({ outcome: 'unknown_sale' });
  }
}

export function absentSale(outcome: 'unknown_sale' | 'recovering'): Answer {
  return outcome === 'recovering' ? REFUSALS.recovering : REFUSALS.sale_not_found;
}

/** A Redis that can't be asked: what is known of the outcome decides the words, never "sold out". */
export function faultAnswer(fault: Fault): Answer {
  return isOutOfMemory(fault) || fault.code === 'busy' ? REFUSALS.overloaded : REFUSALS.unavailable;
}

/** A fault is an ordinary bad day; anything else is a bug, told to the log and not to the buyer. */
export function unexpected(error: unknown, parts: HotPathParts, exchange: Exchange): Answer {
  if (error instanceof Fault) {
    parts.metrics.faulted(error.code);
    return faultAnswer(error);
  }
  parts.log.error({ err: error, requestId: exchange.requestId }, 'a handler failed');
  return REFUSALS.unavailable;
}
