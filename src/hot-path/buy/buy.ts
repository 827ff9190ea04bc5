/** Buying: a request passes the checks that need no Redis, and then waits in the queue of its sale's batcher. */
import { performance } from 'node:perf_hooks';
import { IDEMPOTENCY_KEY_RULE } from '../../api/schemas.ts';
import type { Fault } from '../../domain/fault.ts';
import { isIdempotencyKey } from '../../domain/identifiers.ts';
import { memoizeLast } from '../../domain/memoize-last.ts';
import { sellsTo } from '../../domain/rehearsal.ts';
import { parseItems } from '../../domain/reservation-codec.ts';
import type { ReserveDecision } from '../../lua/buy/reserve.ts';
import type { BuyerHandler } from '../admission/admission.ts';
import type { HashedBuyer } from '../admission/hashed-name.ts';
import type { HttpExchange } from '../http/http-exchange.ts';
import { invalidField, invalidRequest, SKU_REQUIRED } from '../http/request-validation.ts';
import { PROBLEM_RESPONSES, type PreparedResponse } from '../http/responses.ts';
import type { SaleCounts } from '../metrics/sale-counts.ts';
import {
  onlySkuOf,
  redisNowMs,
  type SaleLookup,
  type SaleView,
  VIEW_AGE_MS_MAX,
} from '../sales/sale-views.ts';
import type { SoldOut } from '../sales/sold-out.ts';
import {
  absentSaleResponse,
  faultResponse,
  notStartedResponse,
  type SaleContext,
  withSale,
} from '../sales/with-sale.ts';
import type { QueuedPurchase } from './batcher.ts';
import type { Batchers } from './batchers.ts';
import { type Basket, type BuyBodies, type ParsedBody, unknownSkusResponse } from './buy-body.ts';
import { outcomeResponse } from './buy-responses.ts';

/** Above the possible difference between the clocks. Closer to the start, Redis decides. */
const EARLY_MS_MIN = 1_000;

const MALFORMED_KEY = invalidField('Idempotency-Key', IDEMPOTENCY_KEY_RULE);

export interface BuyContext extends SaleContext {
  buyBodies: BuyBodies;
  batchers: Batchers;
  soldOut: SoldOut;
  reporter: { tickIfLate(nowMs: number): void };
}

export const buy: BuyerHandler<BuyContext> = (exchange, saleId, buyer, context) => {
  new Purchase(exchange, saleId, buyer, context).start();
};

/** Also counts a purchase that gets its response before `buy`. */
export function countPurchase(
  exchange: HttpExchange,
  outcome: string,
  context: Pick<BuyContext, 'metrics' | 'reporter'>,
  nowMs = performance.now(),
): void {
  context.metrics.bought(outcome, (nowMs - exchange.startedAt) / 1_000);
  context.reporter.tickIfLate(nowMs);
}

/** One purchase of an authenticated buyer. It responds exactly once. */
class Purchase implements QueuedPurchase {
  queuedAt = 0;
  repeats = 0;
  readonly #exchange: HttpExchange;
  readonly #saleId: string;
  readonly #buyer: HashedBuyer;
  readonly #context: BuyContext;
  #view: SaleView | undefined;
  #basket: Basket | undefined;
  /** Undefined: the sale is not known. */
  #counts: SaleCounts | undefined;

  constructor(exchange: HttpExchange, saleId: string, buyer: HashedBuyer, context: BuyContext) {
    this.#exchange = exchange;
    this.#saleId = saleId;
    this.#buyer = buyer;
    this.#context = context;
  }

  start(): void {
    this.#exchange.readBody((body) => {
      if (typeof body === 'string') {
        this.#respond(PROBLEM_RESPONSES[body], body);
        return;
      }
      const parsed = this.#context.buyBodies.parse(body);
      // A view of any age is enough: the checks below look at its age, and the script checks everything again.
      withSale(this.#exchange, this.#context, this.#saleId, Number.POSITIVE_INFINITY, (lookup) =>
        this.#enqueue(lookup, parsed),
      );
    });
  }

  #enqueue(lookup: SaleLookup, body: ParsedBody): void {
    const { countsBySale } = this.#context.metrics;
    if (lookup.outcome !== 'known') {
      this.#counts = countsBySale.peek(this.#saleId);
      this.#respond(absentSaleResponse(lookup.outcome), lookup.outcome);
      return;
    }
    if (!sellsTo(this.#saleId, this.buyerId)) {
      this.#respond(PROBLEM_RESPONSES.sale_not_found, 'unknown_sale');
      return;
    }
    const { view } = lookup;
    const nowMs = performance.now();
    this.#counts = countsBySale.of(this.#saleId, nowMs);
    const basket = basketOf(body, this.#exchange.idempotencyKey, view, nowMs);
    if (!('items' in basket)) {
      this.#respond(basket, 'invalid_request');
      return;
    }
    const { items } = basket;
    const tooEarly = earlyResponse(view, nowMs);
    if (tooEarly) {
      this.#respond(tooEarly, 'sale_not_started', nowMs);
      return;
    }
    const { batchers, soldOut } = this.#context;
    const refusal = soldOut.refusalOf(view, this.#buyer, items, nowMs);
    if (refusal) {
      this.#respond(refusal, 'sold_out', nowMs);
      return;
    }
    this.#view = view;
    this.#basket = basket;
    this.queuedAt = nowMs;
    if (!batchers.of(this.#saleId).submit(this)) {
      this.#respond(PROBLEM_RESPONSES.overloaded, 'overloaded');
    }
  }

  get items(): string {
    return this.#basket!.items;
  }

  get itemCount(): number {
    return this.#basket!.skus.length || 1;
  }

  get buyerId(): string {
    return this.#buyer.name;
  }

  get fingerprint(): number {
    return this.#buyer.fingerprint;
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

  get span(): unknown {
    return this.#exchange.span;
  }

  get isAborted(): boolean {
    return this.#exchange.isAborted;
  }

  settle(outcome: ReserveDecision): void {
    try {
      if (outcome.outcome === 'unreadable') throw outcome.fault;
      const view = this.#view!;
      // Redis has no counts of a SKU that the sale has: they are damaged.
      const isDamaged =
        outcome.outcome === 'unknown_sku' &&
        view.state.definition.skus.some(({ sku }) => outcome.skus.includes(sku));
      if (isDamaged) this.#context.views.requestRecovery(this.#saleId);
      const known = isDamaged ? ({ outcome: 'recovering' } as const) : outcome;
      this.#respond(outcomeResponse(known, this.buyerId, this.#basket!, view), known.outcome);
    } catch (error) {
      // The others of the batch still get their responses.
      this.#context.log.error({ err: error, requestId: this.requestId }, 'purchase not settled');
      this.#context.metrics.handlerFailed();
      this.#respond(PROBLEM_RESPONSES.unavailable, 'unavailable');
    }
  }

  fail(fault: Fault): void {
    this.#respond(faultResponse(fault), fault.code);
  }

  /** `localMs`: this process has decided by itself, at that time. */
  #respond(response: PreparedResponse, outcome: string, localMs?: number): void {
    this.#exchange.respond(response);
    const nowMs = localMs ?? performance.now();
    this.#counts?.count(outcome, nowMs - this.#exchange.startedAt, localMs !== undefined);
    countPurchase(this.#exchange, outcome, this.#context, nowMs);
  }
}

/** What the request orders, or the response to an invalid request. */
function basketOf(
  body: ParsedBody,
  idempotencyKey: string,
  view: SaleView,
  nowMs: number,
): Basket | PreparedResponse {
  if (idempotencyKey !== '' && !isIdempotencyKey(idempotencyKey)) return MALFORMED_KEY;
  if ('errors' in body) return invalidRequest(body.errors);
  if (body.items === '') return defaultBasketOf(view, 1) ?? SKU_REQUIRED;
  const unknown = isFresh(view, nowMs) ? unknownSkusOf(view, body.items) : NONE;
  return unknown.length === 0 ? body : unknownSkusResponse(body, unknown);
}

/** The hot path refuses by itself: before the start, this buyer cannot already have a reservation. */
function earlyResponse(view: SaleView, nowMs: number): PreparedResponse | undefined {
  const { status, startsAt } = view.state.definition;
  if (
    status !== 'draft' &&
    startsAt !== null &&
    isFresh(view, nowMs) &&
    redisNowMs(view, nowMs) < startsAt - EARLY_MS_MIN
  ) {
    return notStartedResponse(startsAt);
  }
  return undefined;
}

function isFresh(view: SaleView, nowMs: number): boolean {
  return nowMs - view.readAt <= VIEW_AGE_MS_MAX;
}

/** Units of the only SKU; undefined if the sale has several. */
const defaultBasketOf = memoizeLast(({ state }: SaleView, quantity: number): Basket | undefined => {
  const sku = onlySkuOf(state.definition);
  return sku === undefined ? undefined : { items: `${sku}*${quantity}`, skus: [] };
});

const NONE: readonly string[] = [];

/** Measured: 30 ns for the last basket, against 430 ns in a sale of 3 SKUs and 2,000 ns in a sale of 20. */
const unknownSkusOf = memoizeLast(({ state }: SaleView, items: string): readonly string[] => {
  const known = (item: string) =>
    state.definition.skus.some(({ sku }) => item.startsWith(`${sku}*`));
  if (items.split(',').every(known)) return NONE;
  return parseItems(items).flatMap(({ sku }) => (known(`${sku}*`) ? [] : sku));
});
