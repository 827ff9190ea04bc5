/** The line of a SKU that is sold out: joining it, leaving it. */
import { waitlistBody } from '../../api/buyer-operations.ts';
import { newTag } from '../../domain/identifiers.ts';
import { joinWaitlist } from '../../lua/buy/join-waitlist.ts';
import { leaveWaitlist } from '../../lua/buy/leave-waitlist.ts';
import type { Shards } from '../../redis/shards.ts';
import { notStarted } from '../buy/buy-responses.ts';
import { fieldErrorsOf, jsonOf, NOT_JSON } from '../http/json-body.ts';
import {
  json,
  PROBLEM_RESPONSES,
  type PreparedResponse,
  problemResponse,
  replayed,
} from '../http/responses.ts';
import { onlySkuOf, type SaleView } from '../sales/sale-views.ts';

/** Throws what Shards.call throws. */
export async function joinResponse(
  shards: Shards,
  view: SaleView,
  buyerId: string,
  body: Buffer,
): Promise<PreparedResponse> {
  const { saleId, startsAt } = view.state.definition;
  const value = body.length === 0 ? {} : jsonOf(body);
  if (value === undefined) return problemResponse('invalid_request', { errors: [NOT_JSON] });
  const parsed = waitlistBody.safeParse(value);
  if (!parsed.success) {
    return problemResponse('invalid_request', { errors: fieldErrorsOf(parsed.error) });
  }
  const sku = parsed.data.sku ?? onlySkuOf(view.state.definition);
  if (sku === undefined) {
    return invalidSku('this sale has several SKUs; say which');
  }
  const asked = { buyerId, sku, quantity: parsed.data.quantity };
  const reply = await shards.call(joinWaitlist, saleId, asked);
  switch (reply.outcome) {
    case 'joined':
    case 'already': {
      const place = { saleId, sku, quantity: reply.quantity, place: reply.place };
      return reply.outcome === 'joined' ? json(201, place) : replayed(place);
    }
    case 'available':
      return problemResponse('invalid_transition', {
        detail: 'This is not sold out: buy it.',
        from: 'available',
        to: 'waiting',
      });
    case 'unknown_sku':
      return invalidSku('this sale does not have that SKU');
    case 'sale_not_started':
      return notStarted(startsAt);
    case 'unknown_sale':
      return PROBLEM_RESPONSES.recovering;
    default:
      return PROBLEM_RESPONSES[reply.outcome];
  }
}

/** Leaving a line that one is not in is no mistake. Throws what Shards.call throws. */
export async function leaveResponse(
  shards: Shards,
  saleId: string,
  buyerId: string,
): Promise<PreparedResponse> {
  const reply = await shards.call(leaveWaitlist, saleId, { buyerId, tag: newTag() });
  if (reply.outcome !== 'left') return PROBLEM_RESPONSES.recovering;
  if (reply.count > 0) shards.publishChanged(saleId).catch(() => undefined);
  return json(200, { saleId, left: reply.count });
}

function invalidSku(message: string): PreparedResponse {
  return problemResponse('invalid_request', { errors: [{ field: 'sku', message }] });
}
