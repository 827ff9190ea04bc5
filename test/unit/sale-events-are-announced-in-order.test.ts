/** The sale events to announce depend only on the events announced before and the sale's present state. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Announced, decide, type Seen } from '../../src/persister/webhooks/announce.ts';

const DRAFT: Seen = { status: 'draft', hasStarted: true, soldOut: false };
const EARLY: Seen = { status: 'open', hasStarted: false, soldOut: false };
const SELLING: Seen = { status: 'open', hasStarted: true, soldOut: false };
const SOLD_OUT: Seen = { ...SELLING, soldOut: true };
const PAUSED: Seen = { ...SELLING, status: 'paused' };
const ENDED: Seen = { ...SOLD_OUT, status: 'ended' };

/** The events announced for these states, one after the other. */
function announcedBy(...seen: Seen[]): string[] {
  let announced: Announced = { phase: 'waiting', soldOut: false };
  return seen.flatMap((one) => {
    const { events, next } = decide(announced, one);
    announced = next;
    assert.deepEqual(decide(announced, one).events, [], 'the same state again announces nothing');
    return events;
  });
}

describe('the announcer', () => {
  const lives: [string, Seen[], string[]][] = [
    ['opens when its start time comes', [DRAFT, EARLY, SELLING], ['sale.opened']],
    [
      'announces every sell-out and restock',
      [SELLING, SOLD_OUT, SELLING, SOLD_OUT, ENDED],
      ['sale.opened', 'sale.sold_out', 'sale.restocked', 'sale.sold_out', 'sale.ended'],
    ],
    [
      'announces the opening of a sale that sold out between two checks',
      [EARLY, SOLD_OUT],
      ['sale.opened', 'sale.sold_out'],
    ],
    ['announces nothing on a pause', [SELLING, PAUSED, SELLING], ['sale.opened']],
    [
      'announces the opening when a sale paused before its start resumes',
      [PAUSED, SELLING],
      ['sale.opened'],
    ],
    ['announces the end of a sale that never opened', [DRAFT, ENDED], ['sale.ended']],
    [
      'announces a second opening when the end is postponed',
      [SELLING, ENDED, SELLING],
      ['sale.opened', 'sale.ended', 'sale.opened'],
    ],
  ];
  for (const [what, seen, events] of lives) {
    it(what, () => assert.deepEqual(announcedBy(...seen), events));
  }
});
