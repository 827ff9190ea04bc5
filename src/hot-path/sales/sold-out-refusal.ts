/** The response to a buyer without reservations while a SKU is sold out, by a view of the sale. */
import { availableOf, effectiveStatus, type SkuStock } from '../../domain/sale.ts';
import type { PreparedResponse } from '../http/responses.ts';
import { shortageResponse } from './refusal-responses.ts';
import { hasDueHolds, redisNowMs, type SaleView } from './sale-views.ts';

export const isLeft = (stock: SkuStock): boolean => availableOf(stock) > 0;

/** Decides as reserve.lua does for a buyer without reservations; undefined if the script would return another outcome. */
export function soldOutRefusalOf(
  view: SaleView,
  items: string,
  nowMs: number,
): PreparedResponse | undefined {
  const { definition, stock } = view.state;
  const atMs = redisNowMs(view, nowMs);
  const isOpen =
    !view.isRecovering &&
    effectiveStatus(definition, atMs) === 'open' &&
    (definition.startsAt === null || atMs >= definition.startsAt);
  // A due hold may free units at any moment.
  if (!isOpen || hasDueHolds(view.state, atMs)) return undefined;
  let units = 0;
  let isAnySoldOut = false;
  let available = '';
  for (const item of items.split(',')) {
    const [sku, quantity] = item.split('*');
    // The SKUs of the definition and of the stock are in the same order.
    const index = stock.findIndex((each) => each.sku === sku);
    const counts = stock[index];
    if (!counts) return undefined;
    const limit = definition.skus[index]?.perBuyerLimit;
    if (limit !== undefined && Number(quantity) > limit) return undefined;
    units += Number(quantity);
    isAnySoldOut ||= !isLeft(counts);
    available += `${available === '' ? '' : ','}${availableOf(counts)}`;
  }
  if (!isAnySoldOut || units > definition.perBuyerLimit) return undefined;
  return shortageResponse('sold_out', items, available);
}
