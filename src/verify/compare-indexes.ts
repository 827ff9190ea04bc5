/**
 * Compares the index of each buyer who has one with the records that it stands for. Both are read at one moment, so any
 * difference is a violation, also while the sale is busy.
 */
import {
  buyerIndexOf,
  indexedRecordField,
  isBuyerIndex,
  namesEnded,
  positionsInIndex,
} from '../domain/buyer-index.ts';
import { Fault } from '../domain/fault.ts';
import { isLiving, type Reservation } from '../domain/reservation.ts';
import { parseRecord } from '../domain/reservation-codec.ts';
import { saleKey } from '../lua/keys.ts';
import { inOneStep, type Verification } from './check.ts';

/** Only a buyer who changes reservations this often between two reads is not compared. */
const READS_MAX = 100;

type Texts = (string | null)[];

/** What is wrong with the indexes of these buyers. */
export async function indexDifferences(
  verification: Verification,
  indexes: Iterable<readonly [buyerId: string, index: string]>,
): Promise<string[]> {
  const found = await Promise.all(
    Array.from(indexes, ([buyerId, index]) => differenceOf(verification, buyerId, index)),
  );
  return found.filter((each) => each !== undefined);
}

async function differenceOf(
  verification: Verification,
  buyerId: string,
  seen: string,
): Promise<string | undefined> {
  let index = seen;
  for (let read = 0; read < READS_MAX; read++) {
    const fields = positionsInIndex(index).map((position) => indexedRecordField(buyerId, position));
    const [found, texts] = await readTogether(verification, buyerId, fields);
    if (found !== index) {
      if (found === null || !isBuyerIndex(found)) return `${buyerId} no longer has an index`;
      index = found;
      continue;
    }
    const records: Reservation[] = [];
    for (const [at, text] of texts.entries()) {
      const record = text === null ? undefined : recordOf(verification, text, buyerId);
      if (!record) return `${buyerId}: the index names ${positionsInIndex(index)[at]} in vain`;
      records.push(record);
    }
    const expected = buyerIndexOf(records);
    return index === expected
      ? undefined
      : `${buyerId}: the index is ${index}, its records make ${expected}`;
  }
  return `${buyerId}: the index changed during each of ${READS_MAX} reads`;
}

/** Records among these fields of `past` that an index should name and does not. */
export async function unnamedRecords(
  verification: Verification,
  fields: Iterable<readonly [field: string, text: string]>,
): Promise<string[]> {
  const fieldsOf = new Map<string, string[]>();
  for (const [field] of fields) {
    const [buyerId = '', position, end] = field.split('\t');
    if (position === '' || end === undefined) continue;
    fieldsOf.set(buyerId, [...(fieldsOf.get(buyerId) ?? []), field]);
  }
  const found = await Promise.all(
    Array.from(fieldsOf, async ([buyerId, own]) => {
      const [index, texts] = await readTogether(verification, buyerId, own);
      if (index === null || !isBuyerIndex(index)) return [`${buyerId} has records, but no index`];
      const named = new Set(positionsInIndex(index));
      // An expired hold that was confirmed has at least version 3, and 4 after a refund.
      const hasReclaimed = await hasConfirmedLate(verification, buyerId, index);
      return texts.flatMap((text) => {
        const record = text === null ? undefined : recordOf(verification, text, buyerId);
        if (!record || named.has(String(record.position))) return [];
        const isMissing = isLiving(record) || namesEnded(index, record.position, hasReclaimed);
        return isMissing ? [`${buyerId}: the index does not name ${record.position}`] : [];
      });
    }),
  );
  return found.flat();
}

async function hasConfirmedLate(
  verification: Verification,
  buyerId: string,
  index: string,
): Promise<boolean> {
  const fields = positionsInIndex(index).map((position) => indexedRecordField(buyerId, position));
  const [, texts] = await readTogether(verification, buyerId, fields);
  return texts.some((text) => text !== null && /^(?:[3-9]\tC|[4-9]\tX|\d{2,}\t[CX])\t/.test(text));
}

async function readTogether(
  { servers, saleId }: Verification,
  buyerId: string,
  fields: readonly string[],
): Promise<[index: string | null, texts: Texts]> {
  const transaction = servers.shards.of(saleId).client.multi();
  transaction.hget(saleKey(saleId, 'buyers'), buyerId);
  if (fields.length > 0) transaction.hmget(saleKey(saleId, 'past'), ...fields);
  const [index, texts = []] = (await inOneStep(transaction)) as [string | null, Texts?];
  return [index, texts];
}

/** Undefined: it is damaged, which the comparison with the rows reports. */
function recordOf({ saleId, state }: Verification, text: string, buyerId: string) {
  try {
    return parseRecord(text, { saleId, currency: state.definition.currency }, buyerId);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return undefined;
  }
}
