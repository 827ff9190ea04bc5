/**
 * How `verify` checks each key of a sale in Redis, and each field of those that are hashes of single values. The test
 * takes the keys from src/lua/keys.ts and the fields from a sale, so a new key or field needs an entry here:
 *
 *   'name-of-a-check'        the check that fails when the key is deleted, or the field gets another value
 *   { check, to }            the same, with the new value of the field
 *   { free: 'reason' }       nothing to compare it with
 *
 * Without `to`, a number grows by 1, and a text gets one more letter.
 */
import type { SaleKey } from '../../../src/lua/keys.ts';

export type KeyEntry = string | { check: string; to: string } | { free: string };

const STAGED = {
  free: 'absent unless the sale is being rebuilt; nothing-is-left-of-a-rebuild says so',
};

export const KEYS: Readonly<Record<SaleKey, KeyEntry>> = {
  sale: 'redis-knows-the-sale',
  stock: 'redis-knows-the-sale',
  buyers: 'every-row-is-in-redis',
  order: 'the-order-has-every-position',
  holds: 'every-hold-has-its-deadline',
  events: { free: 'empty once all is drained; the test appends to it' },
  past: 'every-row-is-in-redis',
  terms: 'every-reservation-in-redis-is-a-row',
  line: 'the-line-is-counted-right',
  lineByQuantity: 'the-line-is-known-by-quantity',
  waiting: 'the-line-is-counted-right',
  rebuild: STAGED,
  newBuyers: STAGED,
  newPast: STAGED,
  newOrder: STAGED,
  newHolds: STAGED,
  newLine: STAGED,
  newWaiting: STAGED,
};

/** Of keys that must not exist, of elements of lists and ordered sets, of merchant notes, and of cancelled parts. */
export const ALSO_SHOWN: readonly string[] = [
  'nothing-is-left-of-a-rebuild',
  'first-come-first-served',
  'every-hold-has-its-deadline',
  'merchant-notes-follow-the-history',
  'cancelled-parts-are-in-the-rows',
];

const DEFINITION = 'redis-has-the-last-definition';

/** Fields of the hash `sale`. */
export const SALE_FIELDS: Readonly<Record<string, KeyEntry>> = {
  name: DEFINITION,
  currency: { check: DEFINITION, to: 'USD' },
  status: { check: DEFINITION, to: 'paused' },
  startsAt: DEFINITION,
  endsAt: DEFINITION,
  perBuyerLimit: DEFINITION,
  holdSeconds: DEFINITION,
  waitlistHoldSeconds: DEFINITION,
  skus: {
    check: DEFINITION,
    to: '[{"sku":"black","name":"Black","price":1},{"sku":"red","name":"Red","price":1},{"sku":"tiny","name":"Tiny","price":1}]',
  },
  operation: 'redis-has-the-last-definition',
  operationOutcome: { check: DEFINITION, to: 'applied' },
  fence: 'redis-knows-the-sale',
  timeline: 'both-servers-are-on-one-timeline',
  position: 'the-order-has-every-position',
  gaps: { check: 'the-order-has-every-position', to: '' },
  tickets: { check: 'every-ticket-was-given', to: '0' },
  indexed: 'the-line-is-known-by-quantity',
  indexing: { free: 'progress of the sweep that makes `lineByQuantity`' },
  events: 'the-stream-has-what-is-not-drained',
  drained: 'the-stream-has-what-is-not-drained',
  time: { check: 'time-goes-on', to: 'noon' },
  hasShortRecords: { free: 'only chooses the form of new records, and both forms are read' },
  ahead: { free: 'nothing else knows by how much the clock was set back' },
};

/** Fields of the hash `stock`, without their SKU. */
export const STOCK_FIELDS: Readonly<Record<string, KeyEntry>> = {
  loaded: 'stock-adds-up',
  remaining: 'stock-adds-up',
  held: 'held-and-confirmed-are-rows',
  confirmed: 'held-and-confirmed-are-rows',
  waiting: 'the-line-is-counted-right',
  smallestWaiting: 'the-line-is-known-by-quantity',
  price: DEFINITION,
  perBuyerLimit: DEFINITION,
};

export const RECORD = 'every-reservation-in-redis-is-a-row';

/** Fields of a record in `buyers`, in their order. */
export const RECORD_FIELDS: readonly (readonly [field: string, entry: KeyEntry])[] = [
  ['version', RECORD],
  ['status', { check: RECORD, to: 'P' }],
  ['position', RECORD],
  ['tag', { check: RECORD, to: 'zzzzzzzz' }],
  ['items', { check: RECORD, to: 'black*2' }],
  ['prices', RECORD],
  ['reservedAt', RECORD],
  ['expiresAt', RECORD],
  ['key', RECORD],
];

/** Fields of a short record and of its key, by what a change of them looks like. */
export const SHORT_RECORDS: Readonly<Record<string, string>> = {
  'another place': 'AB$1',
  'another batch': 'AAzz',
  'another basket': 'AA$1.2',
  'a key': 'AA$1 x',
  'no short record': 'A',
};

/** Fields of the terms of a batch, in their order. */
export const TERMS_FIELDS: readonly (readonly [field: string, entry: KeyEntry])[] = [
  ['tag', { check: RECORD, to: 'zzzzzzzz' }],
  ['reservedAt', RECORD],
  ['expiresAt', RECORD],
  ['items', { check: RECORD, to: 'black*2' }],
  ['prices', RECORD],
];

/** Fields of a member of `line`, in their order. */
export const LINE_FIELDS: readonly (readonly [field: string, entry: KeyEntry])[] = [
  ['sku', 'the-line-is-counted-right'],
  ['ticket', { check: 'every-ticket-was-given', to: '000000099999' }],
  ['buyer', 'everybody-in-line-is-found'],
  ['quantity', 'everybody-in-line-is-found'],
];
