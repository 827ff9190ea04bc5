/**
 * Buying: a request goes through the gates, which are answered from memory, and then stands in the line of its sale.
 */

import type { Fault } from '../domain/fault.ts';
import { VISIBLE_ASCII_64 } from '../domain/identifiers.ts';
import type { ReserveOutcome } from '../lua/reserve.ts';
import { type Answer, REFUSALS, refusal } from './answers.ts';
import type { Waiting } from './batcher.ts';
import { notStarted, outcomeAnswer, UNKNOWN_SKU } from './buy-answers.ts';
import type { BuyBodies, ParsedBody } from './buy-body.ts';
import type { Exchange } from './exchange.ts';
import { absentSale, faultAnswer, withLookup } from './lookup.ts';
import type { HotPathParts } from './parts.ts';
import {
  type Lookup,
  onlySkuOf,
  redisNowMs,
  type SaleView,
  VIEW_AGE_MS_MAX,
} from './sale-views.ts';

/**
 * A buyer is refused for being early only by a fresh view and by more than the clocks may differ; nearer to the
 * start Redis decides.
 */
const EARLY_MS_MIN = 1_000;

const MALFORMED_KEY = refusal('invalid_request', {
  errors: [{ field: 'Idempotency-Key', message: 'wants 1 to 64 visible ASCII characters' }],
});
const WHICH_SKU = refusal('invalid_request', {
  errors: [{ field: 'sku', message: 'this sale has several SKUs; say which' }],
});

export function buy(
  exchange: Exchange,
  saleId: string,
  parts: HotPathParts,
  bodies: BuyBodies,
): void {
  const buyer = parts.admission.buyerOf(exchange, exchange.startedAt);
  if ('refused' in buyer) {
    const code = buyer.refused;
    exchange.answer(REFUSALS[code]);
    parts.metrics.bought(code, secondsSince(exchange));
  } else {
    new Purchase(exchange, saleId, buyer.buyerId, parts).start(bodies);
  }
}

/** One press of the button by a buyer who is known. It is answered once. */
class Purchase implements Waiting {
  readonly buyerId: string;
  items = '';
  inLineSince = 0;
  readonly #exchange: Exchange;
  readonly #saleId: string;
  readonly #parts: HotPathParts;
  #view: SaleView | undefined;

  constructor(exchange: Exchange, saleId: string, buyerId: string, parts: HotPathParts) {
    this.#exchange = exchange;
    this.#saleId = saleId;
    this.buyerId = buyerId;
    this.#parts = parts;
  }

  start(bodies: BuyBodies): void {
    this.#exchange.readBody((body) => {
      if (typeof body === 'string') {
        this.#answer(REFUSALS[body], body);
        return;
      }
      const parsed = bodies.parse(body);
      // Any age will do for a view here: only the gates need a fresh one, and the script checks everything again.
      withLookup(this.#exchange, this.#parts, this.#saleId, Number.POSITIVE_INFINITY, (lookup) =>
        this.#enter(lookup, parsed),
      );
    });
  }

  /** Through the gates, and into the line. */
  #enter(lookup: Lookup, body: ParsedBody): void {
    if (lookup.outcome !== 'known') {
      this.#answer(absentSale(lookup.outcome), lookup.outcome);
      return;
    }
    const { view } = lookup;
    const asked = itemsOf(body, this.#exchange.idempotencyKey, view);
    if (typeof asked !== 'string') {
      this.#answer(asked, 'invalid_request');
      return;
    }
    const early = gate(view);
    if (early) {
      this.#answer(early, 'sale_not_started');
      return;
    }
    const { batchers, soldOut } = this.#parts;
    if (soldOut.refuses(view, this.buyerId, asked)) {
      this.#answer(REFUSALS.sold_out, 'sold_out');
      return;
    }
    this.#view = view;
    this.items = asked;
    this.inLineSince = performance.now();
    if (!batchers.of(this.#saleId).submit(this)) {
      this.#answer(REFUSALS.overloaded, 'overloaded');
    }
  }

  get idempotencyKey(): string {
    return this.#exchange.idempotencyKey;
  }

  get requestId(): string {
    return this.#exchange.requestId;
  }

  get traceparent(): string {
    return this.#exchange.traceparent;
  }

  get isAborted(): boolean {
    return this.#exchange.isAborted;
  }

  settle(outcome: ReserveOutcome): void {
    this.#answer(outcomeAnswer(outcome, this.buyerId, this.#view!), outcome.outcome);
  }

  fail(fault: Fault): void {
    this.#answer(faultAnswer(fault), fault.code);
  }

  #answer(answer: Answer, outcome: string): void {
    this.#exchange.answer(answer);
    this.#parts.metrics.bought(outcome, secondsSince(this.#exchange));
  }
}

function secondsSince({ startedAt }: Exchange): number {
  return (performance.now() - startedAt) / 1_000;
}

/** What the request asks for in this sale, in canonical form, or why it can't be asked. */
function itemsOf(parsed: ParsedBody, idempotencyKey: string, view: SaleView): string | Answer {
  if (idempotencyKey !== '' && !VISIBLE_ASCII_64.test(idempotencyKey)) return MALFORMED_KEY;
  if ('errors' in parsed) return refusal('invalid_request', { errors: parsed.errors });
  if (parsed.items !== '') {
    return isFresh(view) && namesUnknownSku(parsed.items, view) ? UNKNOWN_SKU : parsed.items;
  }
  const sku = onlySkuOf(view.state.definition);
  return sku === undefined ? WHICH_SKU : `${sku}*1`;
}

/** A refusal that needs no call to Redis, because no earlier answer to this buyer could contradict it. */
function gate(view: SaleView): Answer | undefined {
  const { status, startsAt } = view.state.definition;
  if (
    status !== 'draft' &&
    startsAt !== null &&
    isFresh(view) &&
    redisNowMs(view) < startsAt - EARLY_MS_MIN
  ) {
    return notStarted(startsAt);
  }
  return undefined;
}

function isFresh(view: SaleView): boolean {
  return performance.now() - view.readAt <= VIEW_AGE_MS_MAX;
}

function namesUnknownSku(items: string, view: SaleView): boolean {
  return items
    .split(',')
    .some((item) => !view.state.definition.skus.some(({ sku }) => item.startsWith(`${sku}*`)));
}
