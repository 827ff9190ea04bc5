/**
 * Events of new reservations, which are nearly all events of a rush. Buyers who were decided in one call share all fields
 * of their event lines but position, key, buyer and request. So only the first line of a batch is parsed; the lines that
 * follow are compared with it, and are parsed only if somebody reads their fields.
 */
import { firstEventFollows, type ReservationEvent, sourceOf } from '../../domain/reservation.ts';
import { recordTerms } from '../../domain/reservation-codec.ts';

/** What lines share. Two lines of one object differ only in the fields named above. */
export interface SharedTerms {
  /** The event whose line was parsed. */
  readonly event: ReservationEvent;
  /** The part of the reservation id after the position. */
  readonly idEnd: string;
  /** The text between position and key. */
  readonly text: string;
  /** The text between buyer and request id. */
  readonly occurrence: string;
}

/** A new reservation, whose first event follows from it. */
const START = '1\tR\t';
const POSITION = /^[1-9][0-9]{0,14}$/;

/** Undefined: the event is of another kind, or a field is written in an unusual way. */
export function termsOf(line: string, event: ReservationEvent): SharedTerms | undefined {
  if (!line.startsWith(START) || !firstEventFollows(event)) return undefined;
  const [, , position, tag, items, prices, reservedAt, expiresAt, , , occurredAt, detail] =
    line.split('\t');
  if (!POSITION.test(position!)) return undefined;
  return {
    event,
    idEnd: `_${tag!}`,
    text: recordTerms(tag!, items!, prices!, reservedAt!, expiresAt!),
    occurrence: `${occurredAt!}\t${detail!}\t`,
  };
}

/**
 * Whether a line is an event with these terms. Its other fields are then readable. Slices are compared, which takes half as
 * long as `startsWith`.
 */
export function hasTerms(line: string, { event, text, occurrence }: SharedTerms): boolean {
  const termsAt = line.indexOf('\t', START.length);
  const keyAt = termsAt + text.length;
  if (line.slice(termsAt, keyAt) !== text || line.slice(0, START.length) !== START) return false;
  if (!isPosition(line, START.length, termsAt)) return false;
  const buyerAt = line.indexOf('\t', keyAt) + 1;
  if (buyerAt === 0) return false;
  const source = sourceOf({ idempotencyKey: line.slice(keyAt, buyerAt - 1) });
  if (source !== sourceOf(event)) return false;
  const occurrenceAt = line.indexOf('\t', buyerAt) + 1;
  const requestAt = occurrenceAt + occurrence.length;
  if (occurrenceAt === 0 || line.slice(occurrenceAt, requestAt) !== occurrence) return false;
  const traceAt = line.indexOf('\t', requestAt) + 1;
  return traceAt > 0 && !line.includes('\t', traceAt);
}

function isPosition(line: string, from: number, to: number): boolean {
  if (to - from < 1 || to - from > 15 || line.charCodeAt(from) === 48) return false;
  for (let i = from; i < to; i += 1) {
    const digit = line.charCodeAt(i);
    if (digit < 48 || digit > 57) return false;
  }
  return true;
}
