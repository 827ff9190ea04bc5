/** Lines that share their terms are read as any other line: the same events, and the same lines are rejected. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ReservationEvent } from '../../src/domain/reservation.ts';
import { parseEvent } from '../../src/domain/reservation-codec.ts';
import { eventsOf } from '../../src/persister/stream/entries.ts';

const SALE = { saleId: 'phones', currency: 'EUR' };

const text = fc.oneof(
  fc.constantFrom('', 'ada', 'waitlist 000000000001', 'waitlist', 'é\u2603', '0', '1e3'),
  fc.string({ maxLength: 20 }).map((any) => any.replaceAll(/[\t\n]/g, '')),
);
const FIELDS: fc.Arbitrary<string>[] = [
  fc.constantFrom('1', '1', '1', '2', '01', ''),
  fc.constantFrom('R', 'R', 'R', 'P', 'C', 'r'),
  fc.oneof(
    fc.integer({ min: 1, max: 2 ** 53 - 1 }).map(String),
    fc.constantFrom('7', '007', '0', '-1', '1e3', ' 5', '', '999999999999999', '9007199254740993'),
  ),
  fc.constantFrom('abcdefgh', 'abcdefgi'),
  fc.constantFrom('unit*1', 'unit*2', 'a*1,b*2'),
  fc.constantFrom('1000', '1000', '7,9'),
  fc.constantFrom('1700000000000', '1700000000001'),
  fc.constantFrom('1700000300000', '1700000300001'),
  text,
  text,
  fc.constantFrom('1700000000000', '1700000000000', '1700000000001'),
  fc.constantFrom('', '', 'waitlist', 'restored', '%'),
  text,
  text,
];
const USUAL =
  '1\tR\t\tabcdefgh\tunit*1\t1000\t1700000000000\t1700000300000\t\tada\t1700000000000\t\tr\tt'.split(
    '\t',
  );

/** A usual line in which some fields are others, and which may lack a field or have one too many. */
const line = fc
  .tuple(
    fc.integer({ min: 1, max: 1_000 }),
    fc.array(
      fc
        .nat({ max: FIELDS.length - 1 })
        .chain((at) => FIELDS[at]!.map((value) => [at, value] as const)),
      { maxLength: 3 },
    ),
    fc.constantFrom(0, 0, 0, 0, 0, 0, 1, -1),
  )
  .map(([position, changes, more]) => {
    const fields = [...USUAL];
    fields[2] = String(position);
    for (const [at, value] of changes) fields[at] = value;
    if (more > 0) fields.push('more');
    return fields.slice(0, more < 0 ? -1 : undefined).join('\t');
  });

function read(lines: string[]): ReservationEvent[] | 'rejected' {
  try {
    const events = eventsOf(SALE.saleId, '1-0', ['s', '1', 'c', 'EUR', 'd', lines.join('\n')]);
    assert.deepEqual(
      events.map((event) => event.line),
      lines,
    );
    return events.map(({ reservation }) => reservation);
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    return 'rejected';
  }
}

function readEach(lines: string[]): ReservationEvent[] | 'rejected' {
  try {
    return lines.map((each) => parseEvent(each, SALE));
  } catch {
    return 'rejected';
  }
}

test('entries with shared and with other terms give the events of their lines', () => {
  let shared = 0;
  fc.assert(
    fc.property(fc.array(line, { minLength: 1, maxLength: 8 }), (lines) => {
      const expected = readEach(lines);
      assert.deepEqual(read(lines), expected);
      if (expected === 'rejected') return;
      const events = eventsOf(SALE.saleId, '1-0', ['s', '1', 'c', 'EUR', 'd', lines.join('\n')]);
      for (const { terms, reservation } of events) {
        if (!terms) continue;
        shared += 1;
        const { event } = terms;
        // What PostgreSQL gets from the terms.
        assert.deepEqual(
          [reservation.items, reservation.total, reservation.reservedAt, reservation.expiresAt],
          [event.items, event.total, event.reservedAt, event.expiresAt],
        );
        assert.deepEqual(
          [reservation.detail, reservation.occurredAt, reservation.status, reservation.version],
          [event.detail, event.occurredAt, 'reserved', 1],
        );
      }
    }),
    { numRuns: 3_000 },
  );
  assert.ok(shared > 1_000, `${shared} lines had terms`);
});
