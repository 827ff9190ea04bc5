/**
 * The merchant note of a reservation: what merchants' requests left of it beside its record, so that a repeated request
 * is recognized while PostgreSQL is unavailable. Redis keeps it in the key `past`, see lua/parts/merchant-note.lua; it
 * follows from the history, so a rebuild restores it.
 *
 * Format: `=` and the percent-encoded payment reference, which is empty if the confirmation had none; nothing if it was
 * never confirmed. Then TAB and `items/restock/key` for each cancellation that named items: restock is 0 if the units left
 * the sale, otherwise 1, and the idempotency key is empty if there was none. Then TAB and `withdrawn` if it was cancelled
 * and its units left the sale.
 */
import type { Item, ReservationStatus } from './reservation.ts';
import { canonicalItems, parseItems } from './reservation-codec.ts';
import { readDetail } from './transition-detail.ts';

/** The field of a note in `past`: no buyer has an empty id. */
export function noteField(position: number): string {
  return `\t${position}`;
}

/** Returns the position if the field of `past` is that of a note. */
export function positionOfNote(field: string): number | undefined {
  return field.startsWith('\t') ? Number(field.slice(1)) : undefined;
}

/**
 * The note that follows from a history, in the order of versions; undefined: it leaves none. Earlier versions of the
 * engine wrote no notes, and named no transition in the history.
 */
export function noteOf(
  history: readonly { status: ReservationStatus; detail: string }[],
): string | undefined {
  let payment: string | undefined;
  let hasLeft = false;
  let parts = '';
  for (const { status, detail } of history) {
    const { transition, paymentRef, restock, items, idempotencyKey } = readDetail(detail);
    if (items) parts += `\t${formatPart({ items, restock: restock !== false, idempotencyKey })}`;
    else if (status === 'confirmed' && transition !== null) payment = paymentRef ?? payment ?? '';
    if (status === 'cancelled' && restock === false) hasLeft = true;
  }
  if (payment === undefined && parts === '' && !hasLeft) return undefined;
  const confirmation = payment === undefined ? '' : `=${encodeURIComponent(payment)}`;
  return `${confirmation}${parts}${hasLeft ? '\twithdrawn' : ''}`;
}

/** A cancellation that named items. */
export interface CancelledPart {
  items: readonly Item[];
  restock: boolean;
  /** Null or empty: none. */
  idempotencyKey: string | null;
}

/** Without a key, a request that has the same text is a repetition. */
export function formatPart({ items, restock, idempotencyKey }: CancelledPart): string {
  return `${canonicalItems(items)}/${Number(restock)}/${idempotencyKey ?? ''}`;
}

/** In the order of their versions. */
export function partsOf(note: string): CancelledPart[] {
  return Array.from(
    note.matchAll(/\t([^\t/]+)\/([01])\/([^\t]*)/g),
    ([, items = '', restock, idempotencyKey = '']) => ({
      items: parseItems(items),
      restock: restock === '1',
      idempotencyKey,
    }),
  );
}

/**
 * What an earlier cancellation that named items says about a request: it is a repetition, or its key was used for
 * another request. Undefined: nothing.
 */
export function earlierPart(
  note: string,
  {
    items,
    restock,
    idempotencyKey,
  }: Omit<CancelledPart, 'items'> & { items: readonly Item[] | undefined },
): 'repeated' | 'key_reused' | undefined {
  const wanted = items && formatPart({ items, restock, idempotencyKey });
  for (const part of partsOf(note)) {
    if (formatPart(part) === wanted) return 'repeated';
    if (idempotencyKey && part.idempotencyKey === idempotencyKey) return 'key_reused';
  }
  return undefined;
}

/** The payment of a note; empty: it has none. */
export function paymentOf(note: string): string {
  return decodeURIComponent(/^=([^\t]*)/.exec(note)?.[1] ?? '');
}

/** Whether the units of the reservation left the sale. */
export function isWithdrawn(note: string): boolean {
  return note.endsWith('\twithdrawn');
}

/** The last payment in a history, also of an earlier version of the engine; empty: it has none. */
export function paymentIn(history: readonly { detail: string }[]): string {
  return history.map(({ detail }) => readDetail(detail).paymentRef ?? '').findLast(Boolean) ?? '';
}
