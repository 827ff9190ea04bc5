/**
 * Who caused a transition and why: the free text of an event. It is JSON for a merchant's transition and plain words
 * otherwise. It is part of the decision's event, so it needs no second write.
 */
import type { Item, OwnItem, ReservationStatus, ReservationTransition } from './reservation.ts';

export interface TransitionDetail {
  /** The role, and the first characters of the digest of the request's token. */
  actor: string;
  transition: ReservationTransition;
  /** The payment that a confirmation refers to. */
  paymentRef?: string | undefined;
  reason?: string | undefined;
  /** Only in a cancellation. False: the units left the sale. */
  restock?: boolean | undefined;
  /** Only in a cancellation that named items. It was a part if the reservation is not cancelled afterwards. */
  items?: readonly Item[] | undefined;
  /** Only in a cancellation that named items. */
  idempotencyKey?: string | undefined;
}

/** The order of the fields is part of the format: see `isAttachment`. */
export function writeDetail(fields: TransitionDetail): string {
  const { actor, transition, paymentRef, reason, restock, items, idempotencyKey } = fields;
  const names = { items, ...(items && { idempotencyKey }) };
  const shown = { actor, transition, paymentRef: paymentRef || undefined, reason, restock };
  return JSON.stringify({ ...shown, ...names });
}

/** What no text within a detail can contain, because JSON escapes its quotes. */
export const WITHDRAWAL = '"restock":false';
export const NAMED_ITEMS = '"items":[';

/** Whether an event took units of its reservation out of the sale: a part, or all that was left. */
export function isWithdrawal(detail: string): boolean {
  return detail.startsWith('{') && detail.includes(WITHDRAWAL);
}

/** Whether an event cancelled a part of its reservation. */
export function isPart({ status, detail }: { status: ReservationStatus; detail: string }): boolean {
  return status !== 'cancelled' && detail.startsWith('{') && detail.includes(NAMED_ITEMS);
}

/** The units that a cancellation took from its reservation. */
export function cancelledItems(event: {
  status: ReservationStatus;
  detail: string;
  items: readonly OwnItem[];
}): readonly Item[] {
  if (isPart(event)) return readDetail(event.detail).items ?? [];
  const left = event.items.filter(({ quantity }) => quantity > 0);
  return left.map(({ sku, quantity }) => ({ sku, quantity }));
}

/** Whether an event only attached a payment. Without parsing: webhooks ask it of each event. */
export function isAttachment(detail: string): boolean {
  return detail.startsWith('{') && /^\{"actor":"[^"]*","transition":"attach"/.test(detail);
}

/** The detail of an event as the API shows it: a merchant's fields, or plain words. */
export interface ShownDetail {
  actor: string | null;
  /** Null also in events of earlier versions of the engine, which did not name it. */
  transition: ReservationTransition | null;
  paymentRef: string | null;
  reason: string | null;
  /** Only in a cancellation by a merchant. False: the units left the sale. */
  restock: boolean | null;
  /** Only in a cancellation that named items. */
  items: readonly Item[] | null;
  idempotencyKey: string | null;
  /** Empty if the fields above are set. */
  detail: string;
}

const NOTHING = {
  actor: null,
  transition: null,
  paymentRef: null,
  reason: null,
  restock: null,
  items: null,
  idempotencyKey: null,
};

export function readDetail(text: string): ShownDetail {
  try {
    const fields = JSON.parse(text.startsWith('{') ? text : '{}') as Partial<TransitionDetail>;
    const { actor, transition = null, paymentRef = null, reason = null, restock = null } = fields;
    const { items = null, idempotencyKey = null } = fields;
    if (typeof actor === 'string') {
      return { actor, transition, paymentRef, reason, restock, items, idempotencyKey, detail: '' };
    }
  } catch {
    // Plain words that begin like JSON.
  }
  return { ...NOTHING, detail: text };
}
