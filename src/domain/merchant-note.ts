/**
 * The merchant note of a reservation: what merchants' requests left of it beside its record, so that a repeated request
 * is recognized while PostgreSQL is unavailable. Redis keeps it in the key `past`, see lua/parts/merchant-note.lua; it
 * follows from the history, so a rebuild restores it.
 *
 * Format: `=` and the percent-encoded payment reference, which is empty if the confirmation had none; nothing if it was
 * never confirmed. Then TAB and `withdrawn` if it was cancelled and its units left the sale.
 */
import type { ReservationStatus } from './reservation.ts';
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
  for (const { status, detail } of history) {
    const { transition, paymentRef, restock } = readDetail(detail);
    if (status === 'confirmed' && transition !== null) payment = paymentRef ?? payment ?? '';
    if (restock === false) hasLeft = true;
  }
  if (payment === undefined && !hasLeft) return undefined;
  const confirmation = payment === undefined ? '' : `=${encodeURIComponent(payment)}`;
  return `${confirmation}${hasLeft ? '\twithdrawn' : ''}`;
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
