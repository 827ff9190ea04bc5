/**
 * Buying: a request goes through the gates, which are answered from memory, and then stands in the line of its sale.
 */
import { performance } from 'node:perf_hooks';
import type { Fault } from '../../domain/fault.ts';
import { VISIBLE_ASCII_64 } from '../../domain/identifiers.ts';
import type { ReserveOutcome } from '../../lua/buy/reserve.ts';
import type { HashedName } from '../admission/hashed-name.ts';
import type { HotPathContext } from '../context.ts';
import type { HttpExchange } from '../http/http-exchange.ts';
import { PROBLEM_RESPONSES, type PreparedResponse, problemResponse } from '../http/responses.ts';
import {
  onlySkuOf,
  redisNowMs,
  type SaleLookup,
  type SaleView,
  VIEW_AGE_MS_MAX,
} from '../sales/sale-views.ts';
import { absentSaleResponse, faultResponse, withSale } from '../sales/with-sale.ts';
import type { QueuedPurchase } from './batcher.ts';
import type { BuyBodies, ParsedBody } from './buy-body.ts';
import { notStarted, outcomeResponse, UNKNOWN_SKU } from './buy-responses.ts';

/**
 * A buyer is refused for being early only by a fresh view and by more than the clocks may differ; nearer to the
 * start Redis decides.
 */
const EARLY_MS_MIN = 1_000;

const MALFORMED_KEY = problemResponse('invalid_request', {
  errors: [{ field: 'Idempotency-Key', message: 'wants 1 to 64 visible ASCII characters' }],
});
const WHICH_SKU = problemResponse('invalid_request', {
  errors: [{ field: 'sku', message: 'this sale has several SKUs; say which' }],
});

export function buy(
  exchange: HttpExchange,
  saleId: string,
  parts: HotPathContext,
  bodies: BuyBodies,
): void {
  const buyer = parts.admission.buyerOf(exchange, exchange.startedAt);
  if (typeof buyer === 'string') {
    exchange.respond(PROBLEM_RESPONSES[buyer]);
    parts.metrics.bought(buyer, secondsOf(exchange, performance.now()));
  } else {
    new Purchase(exchange, saleId, buyer, parts).start(bodies);
  }
}

/** One press of the button by a buyer who is known. It is answered once. */
class Purchase implements QueuedPurchase {
  items = '';
  queuedAt = 0;
  readonly #exchange: HttpExchange;
  readonly #saleId: string;
  readonly #buyer: HashedName;
  readonly #parts: HotPathContext;
  #view: SaleView | undefined;

  constructor(exchange: HttpExchange, saleId: string, buyer: HashedName, parts: HotPathContext) {
    this.#exchange = exchange;
    this.#saleId = saleId;
    this.#buyer = buyer;
    this.#parts = parts;
  }

  start(bodies: BuyBodies): void {
    this.#exchange.readBody((body) => {
      if (typeof body === 'string') {
        this.#respond(PROBLEM_RESPONSES[body], body);
        return;
      }
      const parsed = bodies.parse(body);
      // Any age will do for a view here: only the gates need a fresh one, and the script checks everything again.
      withSale(this.#exchange, this.#parts, this.#saleId, Number.POSITIVE_INFINITY, (lookup) =>
        this.#enter(lookup, parsed),
      );
    });
  }

  /** Through the gates, and into the line. */
  #enter(lookup: SaleLookup, body: ParsedBody): void {
    if (lookup.outcome !== 'known') {
      this.#respond(absentSaleResponse(lookup.outcome), lookup.outcome);
      return;
    }
    const { view } = lookup;
    const nowMs = performance.now();
    const asked = itemsOf(body, this.#exchange.idempotencyKey, view, nowMs);
    if (typeof asked !== 'string') {
      this.#respond(asked, 'invalid_request');
      return;
    }
    const early = gate(view, nowMs);
    if (early) {
      this.#respond(early, 'sale_not_started');
      return;
    }
    const { batchers, soldOut } = this.#parts;
    if (soldOut.refuses(view, this.#buyer, asked, nowMs)) {
      this.#respond(PROBLEM_RESPONSES.sold_out, 'sold_out', nowMs);
      return;
    }
    this.#view = view;
    this.items = asked;
    this.queuedAt = nowMs;
    if (!batchers.of(this.#saleId).submit(this)) {
      this.#respond(PROBLEM_RESPONSES.overloaded, 'overloaded');
    }
  }

  get buyerId(): string {
    return this.#buyer.name;
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
    this.#respond(outcomeResponse(outcome, this.buyerId, this.#view!), outcome.outcome);
  }

  fail(fault: Fault): void {
    this.#respond(faultResponse(fault), fault.code);
  }

  #respond(answer: PreparedResponse, outcome: string, nowMs = performance.now()): void {
    this.#exchange.respond(answer);
    this.#parts.metrics.bought(outcome, secondsOf(this.#exchange, nowMs));
  }
}

function secondsOf({ startedAt }: HttpExchange, nowMs: number): number {
  return (nowMs - startedAt) / 1_000;
}

/** What the request asks for in this sale, in canonical form, or why it can't be asked. */
function itemsOf(
  parsed: ParsedBody,
  idempotencyKey: string,
  view: SaleView,
  nowMs: number,
): string | PreparedResponse {
  if (idempotencyKey !== '' && !VISIBLE_ASCII_64.test(idempotencyKey)) return MALFORMED_KEY;
  if ('errors' in parsed) return problemResponse('invalid_request', { errors: parsed.errors });
  if (parsed.items !== '') {
    return isFresh(view, nowMs) && namesUnknownSku(parsed.items, view) ? UNKNOWN_SKU : parsed.items;
  }
  const sku = onlySkuOf(view.state.definition);
  return sku === undefined ? WHICH_SKU : `${sku}*1`;
}

/** A refusal that needs no call to Redis, because no earlier answer to this buyer could contradict it. */
function gate(view: SaleView, nowMs: number): PreparedResponse | undefined {
  const { status, startsAt } = view.state.definition;
  if (
    status !== 'draft' &&
    startsAt !== null &&
    isFresh(view, nowMs) &&
    redisNowMs(view, nowMs) < startsAt - EARLY_MS_MIN
  ) {
    return notStarted(startsAt);
  }
  return undefined;
}

function isFresh(view: SaleView, nowMs: number): boolean {
  return nowMs - view.readAt <= VIEW_AGE_MS_MAX;
}

/** The last question and its answer: nearly everybody asks for the same. */
let lastNamed: { items: string; view: SaleView | undefined; isUnknown: boolean } = {
  items: '',
  view: undefined,
  isUnknown: false,
};

function namesUnknownSku(items: string, view: SaleView): boolean {
  if (lastNamed.view !== view || lastNamed.items !== items) {
    const isUnknown = items
      .split(',')
      .some((item) => !view.state.definition.skus.some(({ sku }) => item.startsWith(`${sku}*`)));
    lastNamed = { items, view, isUnknown };
  }
  return lastNamed.isUnknown;
}
