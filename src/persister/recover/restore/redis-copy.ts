/** Reads what Redis still holds of a closed sale's reservations: the stream, the records of buyers, and the order. */
import { noteField } from '../../../domain/merchant-note.ts';
import { parseGaps } from '../../../domain/positions.ts';
import type { Reservation, ReservationEvent } from '../../../domain/reservation.ts';
import { letterIn, letterOf, parseRecord } from '../../../domain/reservation-codec.ts';
import { cancelledItems, isWithdrawal } from '../../../domain/transition-detail.ts';
import { saleKey } from '../../../lua/keys.ts';
import type { Examination } from '../../../lua/recover/examine-sale.ts';
import { BatchTerms } from '../../../redis/batch-terms.ts';
import type { StreamConsumer } from '../../stream/consumer.ts';
import { sortEntries } from '../../stream/entries.ts';
import type { KnownVersion } from './likeliest-steps.ts';

const PAGE = 1_000;
const ENTRIES_PER_READ = 100;

/** One version of a reservation. */
export function versionKey(reservationId: string, version: number): string {
  return `${reservationId} ${version}`;
}

export interface StreamContent {
  numbers: Set<number>;
  versions: Set<string>;
  /** The transitions of each reservation, by its id. */
  changes: Map<string, KnownVersion[]>;
  /** Also of a stream whose entries are all trimmed. */
  lastEntryId: string | undefined;
  /** Events that PostgreSQL does not have yet and that take units out of the sale. */
  withdrawals: ReservationEvent[];
}

export const EMPTY_STREAM: StreamContent = {
  numbers: new Set(),
  versions: new Set(),
  changes: new Map(),
  lastEntryId: undefined,
  withdrawals: [],
};

/** By SKU, of the events that take units out of the sale. */
export function withdrawnUnits(events: readonly ReservationEvent[]): Map<string, number> {
  const units = new Map<string, number>();
  for (const event of events) {
    if (!isWithdrawal(event.detail)) continue;
    for (const { sku, quantity } of cancelledItems(event))
      units.set(sku, (units.get(sku) ?? 0) + quantity);
  }
  return units;
}

/** `checkpoint`: the last event that PostgreSQL has. */
export async function readStream(
  { server, saleId }: StreamConsumer,
  checkpoint: number,
): Promise<StreamContent> {
  const content: StreamContent = {
    numbers: new Set(),
    versions: new Set(),
    changes: new Map(),
    lastEntryId: undefined,
    withdrawals: [],
  };
  const key = saleKey(saleId, 'events');
  const info = (await server.client.xinfo('STREAM', key)) as unknown[];
  content.lastEntryId = String(info[info.indexOf('last-generated-id') + 1]);
  for (let from = '-'; ; ) {
    const entries = await server.client.xrange(key, from, '+', 'COUNT', ENTRIES_PER_READ);
    if (entries.length === 0) return content;
    const sorted = await sortEntries(
      saleId,
      entries.map(([id, fields]) => ({ id, fields })),
    );
    for (const { number, reservation } of sorted.events) {
      content.numbers.add(number);
      content.versions.add(versionKey(reservation.reservationId, reservation.version));
      if (reservation.version > 1) {
        const { reservationId, version, status, detail } = reservation;
        const known = content.changes.get(reservationId) ?? [];
        content.changes.set(reservationId, [...known, { reservationId, version, status, detail }]);
      }
      const isWritten = number <= checkpoint;
      if (!isWritten && isWithdrawal(reservation.detail)) content.withdrawals.push(reservation);
    }
    from = `(${entries.at(-1)![0]}`;
  }
}

/** Pages of readable records. A record may occur twice. */
export async function* readRecords(
  { server, saleId }: StreamConsumer,
  { keys }: Pick<Examination, 'keys'>,
  currency: string,
): AsyncGenerator<Reservation[]> {
  const terms = new BatchTerms(server.client, saleId);
  for (const key of ['buyers', 'past'] as const) {
    if (!keys.has(key)) continue;
    let cursor = '0';
    do {
      const [next, pairs] = await server.client.hscan(saleKey(saleId, key), cursor, 'COUNT', PAGE);
      cursor = next;
      if (key === 'buyers' && keys.has('terms')) await terms.load(pairs);
      const page: Reservation[] = [];
      for (let i = 0; i + 1 < pairs.length; i += 2) {
        const [buyerId = '', position] = pairs[i]!.split('\t');
        // The other fields of `past` are merchant notes, or find a position by its idempotency key.
        if (buyerId === '' || position === '') continue;
        for (const text of recordsIn(terms, pairs[i + 1]!)) {
          const record = recordOf(text, { saleId, currency }, buyerId);
          if (record) page.push(record);
        }
      }
      yield page;
    } while (cursor !== '0');
  }
}

/** None if the record is short and its terms are lost. */
function recordsIn(terms: BatchTerms, field: string): string[] {
  try {
    return terms.whole(field).split('\n');
  } catch {
    return [];
  }
}

function recordOf(text: string, sale: { saleId: string; currency: string }, buyerId: string) {
  try {
    const record = parseRecord(text, sale, buyerId);
    const letter = letterIn(text);
    // A version above 1 that is reserved was extended, or a part of it was cancelled.
    const isCut = record.items.some(({ cancelled }) => cancelled !== undefined);
    const isExtended =
      record.version > 1 && (isCut ? letter === 'P' : record.status === 'reserved');
    return letter === letterOf(record.status, isExtended) ? record : undefined;
  } catch {
    // A damaged record. Its position is reported as lost unless PostgreSQL has its row.
    return undefined;
  }
}

/** Merchant notes by position. */
export async function readNotes(
  { server, saleId }: StreamConsumer,
  { keys }: Pick<Examination, 'keys'>,
  reservations: readonly Reservation[],
): Promise<Map<number, string>> {
  const notes = new Map<number, string>();
  const changed = reservations.filter(({ version }) => version > 1);
  for (let from = 0; keys.has('past') && from < changed.length; from += PAGE) {
    const positions = changed.slice(from, from + PAGE).map(({ position }) => position);
    const found = await server.client.hmget(
      saleKey(saleId, 'past'),
      ...positions.map((position) => noteField(position)),
    );
    for (const [index, position] of positions.entries()) {
      const note = found[index];
      if (note !== null && note !== undefined) notes.set(position, note);
    }
  }
  return notes;
}

/** The positions of the order, in pages. */
export async function* readPositions(
  { server, saleId }: StreamConsumer,
  { keys, gaps }: Pick<Examination, 'keys' | 'gaps'>,
): AsyncGenerator<number[]> {
  if (!keys.has('order')) return;
  const pending = parseGaps(gaps);
  let position = 0;
  for (let from = 0; ; from += PAGE) {
    const buyers = await server.client.lrange(saleKey(saleId, 'order'), from, from + PAGE - 1);
    if (buyers.length === 0) return;
    yield buyers.map(() => {
      while (pending[0]?.after === position) position += pending.shift()!.count;
      position += 1;
      return position;
    });
  }
}
