/** The queries of buyers: a sale, the buyer's state in a sale, and one reservation of the buyer. */
import { parseReservationId, SALE_ID } from '../../domain/identifiers.ts';
import { publicReservation } from '../../domain/reservation.ts';
import { availableOf, effectiveStatus } from '../../domain/sale.ts';
import { readBuyer } from '../../lua/read/read-buyer.ts';
import type { Shards } from '../../redis/shards.ts';
import type { HashedName } from '../admission/hashed-name.ts';
import type { HttpExchange } from '../http/http-exchange.ts';
import { json, PROBLEM_RESPONSES, type PreparedResponse } from '../http/responses.ts';
import { redisNowMs, type SaleView, type SaleViews, VIEW_AGE_MS_MAX } from '../sales/sale-views.ts';
import { absentSaleResponse, type SaleContext, withSale } from '../sales/with-sale.ts';
import type { BuyerCalls } from './buyer-calls.ts';

interface QueryContext {
  shards: Shards;
  views: SaleViews;
  buyerCalls: BuyerCalls;
}

export function getSale(exchange: HttpExchange, saleId: string, context: SaleContext): void {
  withSale(exchange, context, saleId, VIEW_AGE_MS_MAX, (lookup) => {
    exchange.respond(
      lookup.outcome === 'known' ? saleResponse(lookup.view) : absentSaleResponse(lookup.outcome),
    );
  });
}

export function getBuyer(
  exchange: HttpExchange,
  saleId: string,
  { name }: HashedName,
  context: QueryContext,
): void {
  if (!SALE_ID.test(saleId)) exchange.respond(PROBLEM_RESPONSES.sale_not_found);
  else context.buyerCalls.run(exchange, () => buyerResponse(saleId, name, context));
}

export function getReservation(
  exchange: HttpExchange,
  reservationId: string,
  { name }: HashedName,
  context: QueryContext,
): void {
  context.buyerCalls.run(exchange, () => reservationResponse(reservationId, name, context));
}

function saleResponse(view: SaleView): PreparedResponse {
  const { definition, stock } = view.state;
  const nowMs = redisNowMs(view);
  const availableBySku = new Map(stock.map((counts) => [counts.sku, availableOf(counts)]));
  return json(200, {
    saleId: definition.saleId,
    name: definition.name,
    status: effectiveStatus(definition, nowMs),
    startsAt: isoOrNull(definition.startsAt),
    endsAt: isoOrNull(definition.endsAt),
    serverTime: new Date(nowMs).toISOString(),
    skus: definition.skus.map(({ sku, name, price }) => {
      const remaining = availableBySku.get(sku) ?? 0;
      return {
        sku,
        name,
        price,
        currency: definition.currency,
        remaining,
        soldOut: remaining <= 0,
      };
    }),
  });
}

async function buyerResponse(
  saleId: string,
  buyerId: string,
  { shards, views }: QueryContext,
): Promise<PreparedResponse> {
  const reply = await shards.call(readBuyer, saleId, buyerId);
  if (reply.outcome !== 'known') return absent(reply.outcome, views, saleId);
  const active = reply.reservations.filter(
    ({ status }) => status === 'reserved' || status === 'confirmed',
  );
  let units = 0;
  for (const { items } of active) for (const { quantity } of items) units += quantity;
  return json(200, {
    saleId,
    buyerId,
    reservations: reply.reservations.map(publicReservation),
    perBuyerLimit: reply.perBuyerLimit,
    waitlist: reply.waiting,
    remainingAllowance: Math.max(0, reply.perBuyerLimit - units),
  });
}

/** The reservation of another buyer gets the same response as one that does not exist. */
async function reservationResponse(
  reservationId: string,
  buyerId: string,
  { shards, views }: QueryContext,
): Promise<PreparedResponse> {
  const address = parseReservationId(reservationId);
  if (!address) return PROBLEM_RESPONSES.reservation_not_found;
  const reply = await shards.call(readBuyer, address.saleId, buyerId);
  if (reply.outcome !== 'known') {
    return reply.outcome === 'recovering' || views.wasLaunched(address.saleId)
      ? PROBLEM_RESPONSES.recovering
      : PROBLEM_RESPONSES.reservation_not_found;
  }
  const own = reply.reservations.find((each) => each.reservationId === reservationId);
  return own ? json(200, publicReservation(own)) : PROBLEM_RESPONSES.reservation_not_found;
}

function absent(
  outcome: 'recovering' | 'unknown_sale',
  views: SaleViews,
  saleId: string,
): PreparedResponse {
  return outcome === 'recovering' || views.wasLaunched(saleId)
    ? PROBLEM_RESPONSES.recovering
    : PROBLEM_RESPONSES.sale_not_found;
}

function isoOrNull(time: number | null): string | null {
  return time === null ? null : new Date(time).toISOString();
}
