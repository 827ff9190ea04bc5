/** What is announced of a sale follows from what was announced before and what is seen now, and from nothing else. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Announced, decide, type Seen } from '../../src/persister/webhooks/announce.ts';

const DRAFT: Seen = { status: 'draft', hasStarted: true, soldOut: false };
const EARLY: Seen = { status: 'open', hasStarted: false, soldOut: false };
const SELLING: Seen = { status: 'open', hasStarted: true, soldOut: false };
const SOLD_OUT: Seen = { ...SELLING, soldOut: true };
const PAUSED: Seen = { ...SELLING, status: 'paused' };
const ENDED: Seen = { ...SOLD_OUT, status: 'ended' };

/** Everything that is announced while these are seen one after the other. */
function announcedBy(...seen: Seen[]): string[] {
  let announced: Announced = { phase: 'waiting', soldOut: false };
  return seen.flatMap((one) => {
    const { events, next } = decide(announced, one);
    announced = next;
    assert.deepEqual(decide(announced, one).events, [], 'seeing the same again says nothing');
    return events;
  });
}

describe('a sale', () => {
  const lives: [string, Seen[], string[]][] = [
    ['opens when its clock says so', [DRAFT, EARLY, SELLING], ['sale.opened']],
    [
      'sells out and is restocked as often as it happens',
      [SELLING, SOLD_OUT, SELLING, SOLD_OUT, ENDED],
      ['sale.opened', 'sale.sold_out', 'sale.restocked', 'sale.sold_out', 'sale.ended'],
    ],
    [
      'that sold out between two looks opened first',
      [EARLY, SOLD_OUT],
      ['sale.opened', 'sale.sold_out'],
    ],
    ['says nothing when it pauses', [SELLING, PAUSED, SELLING], ['sale.opened']],
    ['that was paused before it started opens when it goes on', [PAUSED, SELLING], ['sale.opened']],
    ['that never opened may end', [DRAFT, ENDED], ['sale.ended']],
    [
      'whose end was put off opens again',
      [SELLING, ENDED, SELLING],
      ['sale.opened', 'sale.ended', 'sale.opened'],
    ],
  ];
  for (const [what, seen, events] of lives) {
    it(what, () => assert.deepEqual(announcedBy(...seen), events));
  }
});
