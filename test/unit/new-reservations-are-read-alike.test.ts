/** Reservations in the short form are read as their whole lines would be: the same events, and the same lines are rejected. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseEvents } from '../../harness/sales/whole-records.ts';
import { firstEventFollows, type ReservationEvent } from '../../src/domain/reservation.ts';
import { eventsOf, NewReservation, type StreamEvent } from '../../src/persister/stream/entries.ts';

const SALE = { saleId: 'phones', currency: 'EUR' };
const TERMS = 'abcdefgh\t1700000000000\t1700000300000\tunit*1\t1000\ta*1,b*2\t7,9';

const text = fc.oneof(
  fc.constantFrom('', 'ada', 'waitlist 000000000001', 'waitlist', 'é\u2603', '0', '1e3'),
  fc.string({ maxLength: 20 }).map((any) => any.replaceAll(/[\t\n]/g, '')),
);
const FIELDS: fc.Arbitrary<string>[] = [
  fc.constantFrom('', '', '2', '1', '3', '0', '-1', 'x'),
  text,
  text,
  fc.constantFrom('', '', '', 'waitlist', 'restored', '%'),
  text,
  text,
];

/** A usual line in which some fields are others, and which may lack a field or have one too many. */
const line = fc
  .tuple(
    fc.array(
      fc
        .nat({ max: FIELDS.length - 1 })
        .chain((at) => FIELDS[at]!.map((value) => [at, value] as const)),
      { maxLength: 3 },
    ),
    fc.constantFrom(...Array<number>(40).fill(0), 1, -1),
  )
  .map(([changes, more]) => {
    const fields = ['', 'ada', '', '', 'r', 't'];
    for (const [at, value] of changes) fields[at] = value;
    if (more > 0) fields.push('more');
    return fields.slice(0, more < 0 ? -1 : undefined).join('\t');
  });

function read(entry: string): StreamEvent[] | 'rejected' {
  try {
    return eventsOf(SALE.saleId, '1-0', ['s', '1', 'c', 'EUR', 'd', entry]);
  } catch {
    return 'rejected';
  }
}

function readEach(entry: string): ReservationEvent[] | 'rejected' {
  try {
    return parseEvents(entry, SALE);
  } catch {
    return 'rejected';
  }
}

test('entries with usual and with strange lines give the events of their lines', () => {
  let copied = 0;
  fc.assert(
    fc.property(fc.array(line, { minLength: 1, maxLength: 8 }), (lines) => {
      const entry = `=zz\t${TERMS}\n${lines.join('\n')}`;
      const expected = readEach(entry);
      const events = read(entry);
      if (expected === 'rejected' || events === 'rejected') {
        assert.equal(events, expected);
        return;
      }
      assert.deepEqual(
        events.map(({ reservation }) => reservation),
        expected,
      );
      for (const event of events) {
        // What the COPY writes follows from the terms and the line.
        assert.equal(event instanceof NewReservation, firstEventFollows(event.reservation));
        if (!(event instanceof NewReservation)) continue;
        copied += 1;
        const { items, total, detail, reservedAt } = event.terms.event;
        assert.deepEqual(
          { ...event.reservation, items, total, detail, reservedAt },
          event.reservation,
        );
        assert.equal(event.position, event.reservation.position);
      }
    }),
    { numRuns: 3_000 },
  );
  assert.ok(copied > 1_000, `${copied} events would be copied`);
});
