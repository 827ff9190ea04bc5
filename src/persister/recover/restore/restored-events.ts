/**
 * The events of versions that neither PostgreSQL nor the stream has, as the record and the merchant note tell them. Both
 * say what happened, and little about the order.
 */
import {
  formatPart,
  isWithdrawn,
  noteOf,
  partsOf,
  paymentIn,
  paymentOf,
} from '../../../domain/merchant-note.ts';
import {
  type Reservation,
  type ReservationEvent,
  type ReservationStatus,
  STATUS_OF_LETTER,
} from '../../../domain/reservation.ts';
import { isPart, type TransitionDetail, writeDetail } from '../../../domain/transition-detail.ts';
import type { Transaction } from '../../../postgres/connection.ts';
import type { StreamEvent } from '../../stream/entries.ts';
import { type KnownVersion, likeliestSteps } from './likeliest-steps.ts';

const IDS_PER_STATEMENT = 1_000;

export interface Change {
  status: ReservationStatus;
  detail: string;
}

/** What each of these versions did, in their order. The other versions are known, or nobody can read them. */
export function restoredChanges(
  reservation: Reservation,
  lost: readonly number[],
  note: string,
  known: readonly KnownVersion[],
  /** Whether its deadline shows an extension. */
  isExtended: boolean,
): Change[] {
  const { version: newest, status } = reservation;
  const parts = partsOf(note);
  const ending =
    status === 'cancelled' && unitsOf(parts) > cancelledUnits(reservation)
      ? parts.pop()
      : undefined;
  const knownParts = new Set(partsOf(noteOf(known) ?? '').map(formatPart));
  const lostParts = parts.filter((part) => !knownParts.has(formatPart(part)));
  const paymentRef = paymentOf(note);
  const lacksPayment = paymentRef !== '' && paymentRef !== paymentIn(known);
  const isConfirmationKnown = known.some((each) => each.status === 'confirmed' && !isPart(each));
  const confirms =
    lacksPayment || (!isConfirmationKnown && (status === 'confirmed' || note.startsWith('=')));
  const steps = likeliestSteps(reservation, lost, known, {
    parts: lostParts.length,
    confirms,
    extends: isExtended && !known.some((each) => isExtension(each)),
  });
  const paid = confirms
    ? steps.findLast((step) => step.to === 'C' && !step.cancelsPart)
    : undefined;
  return steps.map((step) => {
    const change = { status: STATUS_OF_LETTER[step.to]!, detail: 'restored' };
    const part = step.cancelsPart ? lostParts.shift() : undefined;
    if (part) return { ...change, detail: restored({ transition: 'cancel', ...part }) };
    // An earlier version of the engine wrote no note.
    if (step === paid && note.startsWith('=')) {
      const transition = step.from === 'C' ? 'attach' : 'confirm';
      return { ...change, detail: restored({ transition, paymentRef }) };
    }
    if (step.version === newest && step.to === 'X' && (ending || isWithdrawn(note))) {
      const restock = ending?.restock ?? false;
      return { ...change, detail: restored({ transition: 'cancel', ...ending, restock }) };
    }
    return change;
  });
}

/** Whether a version extended its hold. */
function isExtension({ status, version, detail }: Change & { version: number }): boolean {
  return status === 'reserved' && version > 1 && !isPart({ status, detail });
}

function restored({
  idempotencyKey,
  ...fields
}: Omit<TransitionDetail, 'actor' | 'idempotencyKey'> & {
  idempotencyKey?: string | null;
}): string {
  return writeDetail({ actor: 'restored', ...fields, idempotencyKey: idempotencyKey || undefined });
}

function unitsOf(parts: readonly { items: readonly { quantity: number }[] }[]): number {
  return parts.flatMap(({ items }) => items).reduce((sum, { quantity }) => sum + quantity, 0);
}

function cancelledUnits({ items }: Reservation): number {
  return items.reduce((sum, { cancelled = 0 }) => sum + cancelled, 0);
}

/** Rows are exact: a record has the newest state, and only that counts. */
export function restoredEvent(
  reservation: Reservation,
  version: number,
  number: number,
  { nowMs, extensionMs }: { nowMs: number; extensionMs: number },
  change: Change,
): StreamEvent {
  const { reservedAt, expiresAt } = reservation;
  // The deadline follows from the time of an extension.
  const changedAt = isExtension({ ...change, version })
    ? Math.min(nowMs, expiresAt - extensionMs)
    : nowMs;
  const event: ReservationEvent = {
    ...reservation,
    ...change,
    version,
    occurredAt: version === 1 ? reservedAt : changedAt,
    requestId: '',
    traceparent: '',
  };
  return { entryId: '0-0', number, line: () => '', reservation: event };
}

/** What PostgreSQL has of these reservations, by id, in the order of versions. */
export async function historyOf(
  transaction: Transaction,
  reservationIds: readonly string[],
): Promise<Map<string, KnownVersion[]>> {
  const found: KnownVersion[] = [];
  for (let from = 0; from < reservationIds.length; from += IDS_PER_STATEMENT) {
    const some = reservationIds.slice(from, from + IDS_PER_STATEMENT);
    found.push(
      ...(await transaction<KnownVersion[]>`
        SELECT reservation_id, version, status, detail FROM reservation_history
        WHERE reservation_id = ANY(${some}) ORDER BY version`),
    );
  }
  return Map.groupBy(found, ({ reservationId }) => reservationId);
}
