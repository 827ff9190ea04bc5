/**
 * The index that a buyer's field has instead of records, if there are many. Its format and its scripts are in
 * lua/parts/buyer-index.lua; no process but `verify` reads one.
 */
import { createHash } from 'node:crypto';
import { isLiving, type Reservation } from './reservation.ts';
import { boughtItems, formatItems } from './reservation-codec.ts';
import { waitlistTicketOf } from './waitlist.ts';

const ENDED_KEPT = 20;

export function isBuyerIndex(field: string): boolean {
  return field.startsWith('#');
}

/** The field of `past` with the record of a buyer who has an index. */
export function indexedRecordField(buyerId: string, position: number | string): string {
  return `${buyerId}\t${position}\t`;
}

/** In the order of the index. */
export function positionsInIndex(index: string): string[] {
  return Array.from(index.matchAll(/ (\d+):/g), ([, position]) => position!);
}

/** The index of these records, which must be all that it is to name. */
export function buyerIndexOf(records: readonly Reservation[]): string {
  const sorted = records.toSorted((a, b) => a.position - b.position);
  const living = sorted.filter(isLiving).map((record) => ({
    ...record,
    units: record.items.reduce((sum, { quantity }) => sum + quantity, 0),
    basket: isSent(record) ? '' : basketMark(record),
  }));
  const ended = sorted.filter((record) => !isLiving(record)).slice(-ENDED_KEPT);
  // A hold that ends has version 2: a reservation that was confirmed, extended or cancelled in parts has more.
  const holds = ended.filter(({ version }) => version === 2);
  const head = [
    living.reduce((sum, { units }) => sum + units, 0),
    living.length,
    holds.length === ENDED_KEPT ? holds[0]!.reservedAt : 0,
  ];
  const endedText = ended.map(
    ({ position, version, reservedAt }) => ` ${position}:${version === 2 ? reservedAt : ''}`,
  );
  const livingText = living.map(
    ({ position, units, status, expiresAt, basket }) =>
      ` ${position}:${units}:${status === 'confirmed' ? 0 : expiresAt}:${basket}`,
  );
  return `#${head.join(' ')}\t${endedText.join('')}\t${livingText.join('')}`;
}

/** The waitlist's key has a space, so nobody can send it. */
function isSent(record: Reservation): boolean {
  return record.idempotencyKey !== '' && waitlistTicketOf(record) === undefined;
}

function basketMark({ items }: Reservation): string {
  return createHash('sha1')
    .update(formatItems(boughtItems(items)))
    .digest('hex')
    .slice(0, 8);
}

/**
 * Whether the index should name a record at this position that has ended. After an expired hold was reclaimed, the list may
 * lack an older one.
 */
export function namesEnded(index: string, position: number, hasReclaimed: boolean): boolean {
  const ended = positionsInIndex(index.split('\t')[1] ?? '');
  if (hasReclaimed) return position > Number(ended.at(-1) ?? Number.POSITIVE_INFINITY);
  return ended.length < ENDED_KEPT || position >= Number(ended[0]);
}
