/** Every short form stands for one whole record or line; everything else is refused with a reason. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseEvents } from '../../harness/sales/whole-records.ts';
import { parseEvent, parseRecord } from '../../src/domain/reservation-codec.ts';
import {
  countEvents,
  isShortRecord,
  splitEntry,
  termsFieldOf,
  wholeEventLines,
  wholeRecord,
} from '../../src/domain/short-record.ts';

const SALE = { saleId: 'sale', currency: 'EUR' };
const TERMS = 'AbCdEfGh\t1700000000000\t1700000300000\tphone*1\t1999\tcase*2,phone*1\t500,1999';
const WHOLE = '2\tE\t7\tZyXwVuTs\tphone*1\t1999\t1600000000000\t1600000300000\told';
const WHOLE_LINE = `${WHOLE}\teve\t1700000000000\t\t\t`;
const SHORT_LINES = `=zz\t${TERMS}\n\tada\tkey-1\t\trequest-1\t\n2\tbob\t\twaitlist\t\ttrace-2`;

test('a short record is the record of its place, its basket and its key', () => {
  for (const [short, expected] of [
    ['AAzz', { position: 1_295, key: '', items: 'phone*1\t1999' }],
    ['AAzz key.1', { position: 1_295, key: 'key.1', items: 'phone*1\t1999' }],
    ['AAzz\tkey.1', { position: 1_295, key: 'key.1', items: 'phone*1\t1999' }],
    ['PP1.2 a key', { position: 256, key: 'a key', items: 'case*2,phone*1\t500,1999' }],
    ['AB2gosa7pa2gv', { position: Number.MAX_SAFE_INTEGER + 1, key: '', items: 'phone*1\t1999' }],
  ] as const) {
    assert.ok(isShortRecord(short));
    assert.match(termsFieldOf(short)!, /^[0-9a-z]+$/);
    const { position, key, items } = expected;
    const text = `1\tR\t${position}\tAbCdEfGh\t${items}\t1700000000000\t1700000300000\t${key}`;
    assert.equal(wholeRecord(short, TERMS), text);
  }
  for (const text of ['', WHOLE, '#1 1 0\t\t', 'Q1', 'damaged']) assert.ok(!isShortRecord(text));
});

test('the lines of an entry are parsed as their whole lines would be', () => {
  for (const [text, count] of [
    [WHOLE_LINE, 1],
    [SHORT_LINES, 2],
    [`${WHOLE_LINE}\n${WHOLE_LINE}\n${SHORT_LINES}`, 4],
  ] as const) {
    const whole = wholeEventLines(text).map((line) => parseEvent(line, SALE));
    assert.deepEqual(parseEvents(text, SALE), whole);
    assert.equal(countEvents(text), count);
    assert.equal(whole.length, count);
    const { lines, batch } = splitEntry(text);
    assert.deepEqual(
      batch?.lines.map((_, place) => batch.buyerOf(place)) ?? [],
      whole.slice(lines.length).map(({ buyerId }) => buyerId),
    );
  }
  const [, second] = parseEvents(SHORT_LINES, SALE);
  assert.equal(second!.position, 1_296);
  assert.equal(second!.total, 2_999);
  assert.equal(second!.detail, 'waitlist');
  assert.equal(parseRecord(wholeRecord('ABzz.2', TERMS), SALE, 'bob').total, 2_999);
});

test('what is damaged is refused with a reason', () => {
  for (const [short, terms, reason] of [
    ['A', TERMS, /not a short record: A$/],
    ['AAzz', undefined, /the terms zz are missing/],
    ['AAzz.3', TERMS, /the terms zz have no basket 3/],
    ['AAzz', 'AbCdEfGh\t1\t2', /not the terms of a batch: zz/],
    ['AAzz', 'AbCdEfGh\t1\t2\tphone*1', /not the terms of a batch: zz/],
  ] as const) {
    assert.throws(() => wholeRecord(short, terms), reason);
  }
  for (const [text, reason] of [
    [`=zz\t${TERMS}\n\tada\tkey`, /a short event has 3 fields, not 6/],
    [`=zz\t${TERMS}\n3\tada\t\t\t\t`, /have no basket 3/],
    [`=zz\t${TERMS.replace('1700000000000', '9e15')}\n\tada\t\t\t\t`, /is not a time/],
    ['=', /not the terms of a batch/],
  ] as const) {
    assert.throws(() => parseEvents(text, SALE), reason);
  }
});
