/** Joining and leaving the waitlist of a SKU. */
import { waitlistBody } from '../../api/buyer-operations.ts';
import { newTag } from '../../domain/identifiers.ts';
import { sellsTo } from '../../domain/rehearsal.ts';
import { joinWaitlist } from '../../lua/buy/join-waitlist.ts';
import { leaveWaitlist } from '../../lua/buy/leave-waitlist.ts';
import type { Shards } from '../../redis/shards.ts';
import type { BuyerHandler } from '../admission/admission.ts';
import {
  fieldErrorsOf,
  invalidRequest,
  NOT_JSON,
  parseJson,
  SKU_REQUIRED,
  UNKNOWN_SKU,
} from '../http/request-validation.ts';
import {
  json,
  PROBLEM_RESPONSES,
  type PreparedResponse,
  problemResponse,
  replayed,
} from '../http/responses.ts';
import type { MemoryPressure } from '../sales/memory-pressure.ts';
import { limitReachedResponse } from '../sales/refusal-responses.ts';
import { onlySkuOf, redisNowMs, type SaleView } from '../sales/sale-views.ts';
import {
  absentSaleResponse,
  notStartedResponse,
  tooManyHoldsResponse,
  withSale,
} from '../sales/with-sale.ts';
import type { BuyerContext } from './buyer-calls.ts';

export interface WaitlistContext extends BuyerContext {
  memoryPressure: MemoryPressure;
}

export const join: BuyerHandler<WaitlistContext> = (exchange, saleId, { name }, context) => {
  const { shards, memoryPressure, buyerCalls } = context;
  exchange.readBody((body) => {
    if (typeof body === 'string') return exchange.respond(PROBLEM_RESPONSES[body]);
    const bytes = Buffer.from(body);
    withSale(exchange, context, saleId, Number.POSITIVE_INFINITY, (lookup) => {
      if (lookup.outcome !== 'known') return exchange.respond(absentSaleResponse(lookup.outcome));
      if (!sellsTo(saleId, name)) return exchange.respond(PROBLEM_RESPONSES.sale_not_found);
      buyerCalls.run(exchange, async () =>
        memoryPressure.isHigh(saleId)
          ? PROBLEM_RESPONSES.overloaded
          : joinResponse(shards, lookup.view, name, bytes),
      );
    });
  });
};

/** A buyer who is on no waitlist gets the same response. */
export const leave: BuyerHandler<WaitlistContext> = (exchange, saleId, { name }, context) => {
  const { shards, buyerCalls } = context;
  withSale(exchange, context, saleId, Number.POSITIVE_INFINITY, (lookup) => {
    if (lookup.outcome !== 'known') return exchange.respond(absentSaleResponse(lookup.outcome));
    buyerCalls.run(exchange, async () => {
      const reply = await shards.call(leaveWaitlist, saleId, { buyerId: name, tag: newTag() });
      if (reply.outcome === 'sale_ended') return PROBLEM_RESPONSES.sale_ended;
      if (reply.outcome !== 'left') return PROBLEM_RESPONSES.recovering;
      if (reply.count > 0) shards.publishChanged(saleId).catch(() => undefined);
      return json(200, { saleId, left: reply.count, waitlist: [] });
    });
  });
};

async function joinResponse(
  shards: Shards,
  view: SaleView,
  buyerId: string,
  body: Buffer,
): Promise<PreparedResponse> {
  const { saleId, startsAt } = view.state.definition;
  const value = body.length === 0 ? {} : parseJson(body);
  if (value === undefined) return invalidRequest([NOT_JSON]);
  const parsed = waitlistBody.safeParse(value);
  if (!parsed.success) return invalidRequest(fieldErrorsOf(parsed.error));
  const sku = parsed.data.sku ?? onlySkuOf(view.state.definition);
  if (sku === undefined) return SKU_REQUIRED;
  const { quantity } = parsed.data;
  const reply = await shards.call(joinWaitlist, saleId, { buyerId, sku, quantity });
  switch (reply.outcome) {
    case 'joined':
    case 'already': {
      const entry = { saleId, sku, quantity: reply.quantity, place: reply.place };
      return reply.outcome === 'joined' ? json(201, entry) : replayed(entry);
    }
    case 'waiting':
      return problemResponse('invalid_transition', {
        detail:
          'You already wait for another quantity of this SKU, and keep it; see quantity and place. To wait for another one, leave the waitlist first.',
        from: 'waiting',
        to: 'waiting',
        sku,
        quantity: reply.quantity,
        place: reply.place,
      });
    case 'available':
      return problemResponse('invalid_transition', {
        detail: 'That quantity is on sale. Buy it instead of joining the waitlist.',
        from: 'available',
        to: 'waiting',
      });
    case 'too_many_holds':
      return tooManyHoldsResponse(reply.untilMs, redisNowMs(view));
    case 'limit_reached':
      return limitReachedResponse(reply, { waitlist: reply.waiting });
    case 'unknown_sku':
      return UNKNOWN_SKU;
    case 'sale_not_started':
      return notStartedResponse(startsAt);
    case 'unknown_sale':
      return PROBLEM_RESPONSES.recovering;
    default:
      return PROBLEM_RESPONSES[reply.outcome];
  }
}
