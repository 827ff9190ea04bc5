/** The queries of buyers: a sale, the buyer's state in a sale, and one reservation of the buyer. */
import { LIVING_RESERVATIONS_MAX, parseReservationId, SALE_ID } from '../../domain/identifiers.ts';
import { isLiving, publicReservation } from '../../domain/reservation.ts';
import { availableOf, effectiveStatus } from '../../domain/sale.ts';
import { readBuyer } from '../../lua/read/read-buyer.ts';
import type { BuyerHandler } from '../admission/admission.ts';
import type { HttpExchange } from '../http/http-exchange.ts';
import { json, PROBLEM_RESPONSES, type PreparedResponse, publicJson } from '../http/responses.ts';
import {
  type SaleView,
  type SaleViews,
  shownTimeMs,
  VIEW_AGE_MS_MAX,
} from '../sales/sale-views.ts';
import { absentSaleResponse, type SaleContext, withSale } from '../sales/with-sale.ts';
import type { BuyerContext } from './buyer-calls.ts';

export function getSale(exchange: HttpExchange, saleId: string, context: SaleContext): void {
  withSale(exchange, context, saleId, VIEW_AGE_MS_MAX, (lookup) => {
    exchange.respond(
      lookup.outcome === 'known' ? saleResponse(lookup.view) : absentSaleResponse(lookup.outcome),
    );
  });
}

function saleResponse(view: SaleView): PreparedResponse {
  const { definition, stock } = view.state;
  const nowMs = shownTimeMs(view);
  const availableBySku = new Map(stock.map((counts) => [counts.sku, availableOf(counts)]));
  return publicJson({
    saleId: definition.saleId,
    name: definition.name,
    status: effectiveStatus(definition, nowMs),
    startsAt: isoOrNull(definition.startsAt),
    endsAt: isoOrNull(definition.endsAt),
    serverTime: new Date(nowMs).toISOString(),
    skus: definition.skus.map(({ sku, name, price, perBuyerLimit }) => {
      const remaining = availableBySku.get(sku) ?? 0;
      return {
        sku,
        name,
        price,
        currency: definition.currency,
        remaining,
        soldOut: remaining <= 0,
        ...(perBuyerLimit !== undefined && { perBuyerLimit }),
      };
    }),
  });
}

export const getBuyer: BuyerHandler<BuyerContext> = (exchange, saleId, { name }, context) => {
  const { shards, views, buyerCalls } = context;
  if (!SALE_ID.test(saleId)) return exchange.respond(PROBLEM_RESPONSES.sale_not_found);
  buyerCalls.run(exchange, async () => {
    const reply = await shards.call(readBuyer, saleId, name);
    if (reply.outcome !== 'known') {
      return absentResponse(reply.outcome, { views, saleId }, 'sale_not_found');
    }
    let units = 0;
    let living = 0;
    const unitsOf = new Map<string, number>();
    for (const { status, items } of reply.reservations) {
      if (!isLiving({ status })) continue;
      living += 1;
      for (const { sku, quantity } of items) {
        units += quantity;
        unitsOf.set(sku, (unitsOf.get(sku) ?? 0) + quantity);
      }
    }
    const { perBuyerLimit, skuLimits, coolDownEndMs } = reply;
    const allowance = living < LIVING_RESERVATIONS_MAX ? Math.max(0, perBuyerLimit - units) : 0;
    return json(200, {
      saleId,
      buyerId: name,
      reservations: reply.reservations.map(publicReservation),
      perBuyerLimit,
      waitlist: reply.waiting,
      remainingAllowance: allowance,
      skus: skuLimits.map((each) => {
        const own = Math.max(0, each.perBuyerLimit - (unitsOf.get(each.sku) ?? 0));
        return { ...each, remainingAllowance: Math.min(own, allowance) };
      }),
      tooManyHoldsUntil: coolDownEndMs === 0 ? null : isoOrNull(coolDownEndMs),
    });
  });
};

/** The reservation of another buyer gets the same response as one that does not exist. */
export const getReservation: BuyerHandler<BuyerContext> = (exchange, id, { name }, context) => {
  const { shards, views, buyerCalls } = context;
  const address = parseReservationId(id);
  if (!address) return exchange.respond(PROBLEM_RESPONSES.reservation_not_found);
  const { saleId } = address;
  buyerCalls.run(exchange, async () => {
    const reply = await shards.call(readBuyer, saleId, name, address.position);
    if (reply.outcome !== 'known') {
      return absentResponse(reply.outcome, { views, saleId }, 'reservation_not_found');
    }
    const own = reply.reservations.find(({ reservationId }) => reservationId === id);
    return own ? json(200, publicReservation(own)) : PROBLEM_RESPONSES.reservation_not_found;
  });
};

/** `sale_ended`: it is archived, and only the merchant still has access to its reservations. */
export async function absentResponse(
  outcome: string,
  { views, saleId }: { views: SaleViews; saleId: string },
  notFound: 'sale_not_found' | 'reservation_not_found',
): Promise<PreparedResponse> {
  if (outcome === 'sale_ended') return PROBLEM_RESPONSES.sale_ended;
  if (outcome === 'recovering') {
    views.announceMissed(saleId);
    views.requestRecovery(saleId);
    return PROBLEM_RESPONSES.recovering;
  }
  const isLost = outcome === 'unknown_sale' && !(await views.isAbsent(saleId));
  return PROBLEM_RESPONSES[isLost ? 'recovering' : notFound];
}

function isoOrNull(time: number | null): string | null {
  return time === null ? null : new Date(time).toISOString();
}
