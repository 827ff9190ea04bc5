/**
 * Events of new reservations in the short form, which are nearly all events of a rush. What a batch shares is parsed once,
 * and a line only if somebody reads its fields: rows are made of its bytes, see write/copy-events.ts.
 */
import type { ReservationEvent } from '../../domain/reservation.ts';
import { sourceOf } from '../../domain/reservation.ts';
import type { ShortBatch } from '../../domain/short-record.ts';
import type { StreamEvent } from './entries.ts';

/** What reservations of a batch share. */
export interface SharedTerms {
  /** Of one of them. Only position, buyer, key, request and trace are its own. */
  readonly event: ReservationEvent;
  /** The part of the reservation id after the position. */
  readonly idEnd: string;
}

/** An event whose line is sound, and which follows from its reservation, see `firstEventFollows`. */
export class NewReservation implements StreamEvent {
  readonly entryId: string;
  readonly number: number;
  readonly terms: SharedTerms;
  readonly #batch: ShortBatch;
  readonly #place: number;
  #reservation: ReservationEvent | undefined;

  constructor(
    { entryId, number }: Pick<StreamEvent, 'entryId' | 'number'>,
    batch: ShortBatch,
    place: number,
    terms: SharedTerms,
  ) {
    this.entryId = entryId;
    this.number = number;
    this.terms = terms;
    this.#batch = batch;
    this.#place = place;
  }

  get position(): number {
    return this.#batch.positionOf(this.#place);
  }

  get shortLine(): string {
    return this.#batch.lines[this.#place]!;
  }

  get reservation(): ReservationEvent {
    this.#reservation ??= this.#batch.eventOf(this.#place, this.terms.event);
    return this.#reservation;
  }

  line(): string {
    return this.#batch.wholeLineOf(this.#place);
  }
}

/** Throws a Fault `reply_malformed` if a line is damaged. */
export function newReservations(
  batch: ShortBatch,
  sale: Pick<ReservationEvent, 'saleId' | 'currency'>,
  { entryId, number }: Pick<StreamEvent, 'entryId' | 'number'>,
): StreamEvent[] {
  const known = new Map<string, SharedTerms>();
  return batch.lines.map((line, place): StreamEvent => {
    const stream = { entryId, number: number + place };
    const kind = kindOf(line);
    const terms = kind === undefined ? undefined : known.get(kind);
    if (terms) return new NewReservation(stream, batch, place, terms);
    const event = batch.eventOf(place, sale);
    if (kind === undefined) {
      return { ...stream, line: () => batch.wholeLineOf(place), reservation: event };
    }
    const own = { event, idEnd: `_${batch.tag}` };
    known.set(kind, own);
    return new NewReservation(stream, batch, place, own);
  });
}

/** Equal for lines with the same terms. Undefined: the event does not follow from its reservation, or the line is damaged. */
function kindOf(line: string): string | undefined {
  const buyerAt = line.indexOf('\t') + 1;
  const keyAt = line.indexOf('\t', buyerAt) + 1;
  const detailAt = line.indexOf('\t', keyAt) + 1;
  const requestAt = line.indexOf('\t', detailAt) + 1;
  const traceAt = line.indexOf('\t', requestAt) + 1;
  const isWhole = buyerAt > 0 && keyAt > 0 && detailAt > 0 && requestAt > 0 && traceAt > 0;
  if (!isWhole || line.includes('\t', traceAt)) return undefined;
  const source = sourceOf({ idempotencyKey: line.slice(keyAt, detailAt - 1) });
  const detail = line.slice(detailAt, requestAt - 1);
  if (detail !== (source === 'waitlist' ? 'waitlist' : '')) return undefined;
  return `${line.slice(0, buyerAt)}${source}`;
}
