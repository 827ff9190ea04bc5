/** What a buyer may look at: the sale, and what is one's own in it. */
import { parseReservationId } from '../../domain/identifiers.ts';
import { publicReservation } from '../../domain/reservation.ts';
import { availableOf, effectiveStatus } from '../../domain/sale.ts';
import { readBuyer } from '../../lua/read/read-buyer.ts';
import type { Shards } from '../../redis/shards.ts';
import { json, PROBLEM_RESPONSES, type PreparedResponse } from '../http/responses.ts';
import { redisNowMs, type SaleView, type SaleViews } from '../sales/sale-views.ts';

export function saleResponse(view: SaleView): PreparedResponse {
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

/** Throws what Shards.call throws. */
export async function buyerResponse(
  shards: Shards,
  views: SaleViews,
  saleId: string,
  buyerId: string,
): Promise<PreparedResponse> {
  const reply = await shards.call(readBuyer, saleId, buyerId);
  if (reply.outcome !== 'known') return absent(reply.outcome, views, saleId);
  const living = reply.reservations.filter(
    ({ status }) => status === 'reserved' || status === 'confirmed',
  );
  let units = 0;
  for (const { items } of living) for (const { quantity } of items) units += quantity;
  return json(200, {
    saleId,
    buyerId,
    reservations: reply.reservations.map(publicReservation),
    perBuyerLimit: reply.perBuyerLimit,
    waitlist: reply.waiting,
    remainingAllowance: Math.max(0, reply.perBuyerLimit - units),
  });
}

/** Somebody else's reservation is as absent as one that never was. Throws what Shards.call throws. */
export async function reservationResponse(
  shards: Shards,
  views: SaleViews,
  reservationId: string,
  buyerId: string,
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
