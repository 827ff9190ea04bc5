/**
 * Parses stream entries into events. An entry is one batch of decisions (see reserve.lua). Its fields: `v` the format
 * version, `s` the number of its first event, `c` the currency, `d` the event lines separated by LF.
 *
 * New reservations in the short form are nearly all events of a rush. What their batch shares is parsed once, and a line only
 * if somebody reads its fields: rows are made of its bytes, see write/copy-events.ts.
 */
import { setImmediate as immediate } from 'node:timers/promises';
import { type ReservationEvent, sourceOf } from '../../domain/reservation.ts';
import { parseEvent } from '../../domain/reservation-codec.ts';
import {
  countEvents as countLines,
  type ShortBatch,
  splitEntry,
} from '../../domain/short-record.ts';

/**
 * The formats that this version reads. In 2, an event can take units out of the sale; in 3, a part can be cancelled; in 4,
 * new reservations can have the short form.
 */
const FORMAT_VERSIONS = ['1', '2', '3', '4'];

/** Fields are null if the entry was deleted from the stream while it was pending. */
export interface StreamEntry {
  id: string;
  fields: string[] | null;
}

/** An event with its place in the stream, which a dead letter must show. */
export interface StreamEvent {
  entryId: string;
  /** Its number in the sale. */
  number: number;
  /** Its whole event line. Only dead letters need it. */
  line: () => string;
  reservation: ReservationEvent;
}

/** What reservations of a batch share. */
export interface SharedTerms {
  /** The event of one of them. Only position, buyer, key, request and trace are its own. */
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

interface UnreadableEntry {
  entryId: string;
  payload: string;
  currency: string;
  reason: string;
}

export interface SortedEntries {
  events: StreamEvent[];
  unreadable: UnreadableEntry[];
  /** Entries of another format version. They stay pending for a persister that reads it. */
  waiting: { entryId: string; version: string }[];
  /** To acknowledge once the events and the unreadable entries are in PostgreSQL. */
  entryIds: string[];
}

/** Yields to the event loop before each entry, so that a write in progress is not delayed. */
export async function sortEntries(
  saleId: string,
  entries: readonly StreamEntry[],
): Promise<SortedEntries> {
  const sorted: SortedEntries = { events: [], unreadable: [], waiting: [], entryIds: [] };
  for (const entry of entries) {
    await immediate();
    if (entry.fields === null) {
      sorted.entryIds.push(entry.id);
      continue;
    }
    const version = fieldOf(entry.fields, 'v');
    if (version === undefined || !FORMAT_VERSIONS.includes(version)) {
      sorted.waiting.push({ entryId: entry.id, version: version ?? 'none' });
      continue;
    }
    sorted.entryIds.push(entry.id);
    try {
      for (const event of eventsOf(saleId, entry.id, entry.fields)) sorted.events.push(event);
    } catch (error) {
      sorted.unreadable.push({
        entryId: entry.id,
        payload: JSON.stringify(entry.fields),
        currency: fieldOf(entry.fields, 'c') ?? '',
        reason: error instanceof Error ? error.message : String(error),
      });
    }
  }
  return sorted;
}

/** Throws if the fields are not an entry of this format. */
export function eventsOf(saleId: string, entryId: string, fields: string[]): StreamEvent[] {
  const first = Number(fieldOf(fields, 's'));
  const currency = fieldOf(fields, 'c') ?? '';
  if (!Number.isSafeInteger(first) || first < 1) throw new RangeError('`s` is not an event number');
  if (!/^[A-Z]{3}$/.test(currency)) throw new RangeError('`c` is not a currency');
  const sale = { saleId, currency };
  const { lines, batch } = splitEntry(fieldOf(fields, 'd') ?? '');
  const events = lines.map(
    (line, index): StreamEvent => ({
      entryId,
      number: first + index,
      line: () => line,
      reservation: parseEvent(line, sale),
    }),
  );
  if (!batch) return events;
  const number = first + lines.length;
  return [...events, ...newReservations(batch, sale, { entryId, number })];
}

/** Throws a Fault `reply_malformed` if a line is damaged. */
function newReservations(
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

/** Counts the events without parsing them. */
export function countEvents(entry: StreamEntry): number {
  return countLines(entry.fields === null ? '' : (fieldOf(entry.fields, 'd') ?? ''));
}

function fieldOf(fields: readonly string[], name: string): string | undefined {
  for (let i = 0; i + 1 < fields.length; i += 2) if (fields[i] === name) return fields[i + 1];
  return undefined;
}

/** An entry id is two numbers, so ids do not compare as text. */
export function compareEntryIds(a: string, b: string): number {
  const [aMs, aSequence] = a.split('-');
  const [bMs, bSequence] = b.split('-');
  return Number(aMs) - Number(bMs) || Number(aSequence) - Number(bSequence);
}
