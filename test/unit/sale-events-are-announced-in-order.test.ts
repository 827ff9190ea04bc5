/** The sale events to announce depend only on the events announced before and the sale's present state. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Announced, decide, type Seen } from '../../src/persister/webhooks/announce.ts';

const skus = (...soldOut: string[]) =>
  ['black', 'red'].map((sku) => ({ sku, soldOut: soldOut.includes(sku) }));
const DRAFT: Seen = { status: 'draft', hasStarted: true, skus: skus() };
const EARLY: Seen = { status: 'open', hasStarted: false, skus: skus() };
const SELLING: Seen = { status: 'open', hasStarted: true, skus: skus() };
const NO_BLACK: Seen = { ...SELLING, skus: skus('black') };
const NO_RED: Seen = { ...SELLING, skus: skus('red') };
const SOLD_OUT: Seen = { ...SELLING, skus: skus('black', 'red') };
const GONE = ['sku.sold_out black', 'sku.sold_out red', 'sale.sold_out'];
const BACK = ['sku.restocked black', 'sku.restocked red', 'sale.restocked'];
const PAUSED: Seen = { ...SELLING, status: 'paused' };
const ENDED: Seen = { ...SOLD_OUT, status: 'ended' };

/** The events announced for these states, one after the other. */
function announcedBy(...seen: Seen[]): string[] {
  let announced: Announced = { phase: 'waiting', soldOut: false, soldOutSkus: [] };
  return seen.flatMap((one) => {
    const { events, next } = decide(announced, one);
    announced = next;
    assert.deepEqual(decide(announced, one).events, [], 'the same state again announces nothing');
    return events.map((event) => ('sku' in event ? `${event.type} ${event.sku}` : event.type));
  });
}

describe('the announcer', () => {
  const lives: [string, Seen[], string[]][] = [
    ['opens when its start time comes', [DRAFT, EARLY, SELLING], ['sale.opened']],
    [
      'announces every sell-out and restock',
      [SELLING, SOLD_OUT, SELLING, SOLD_OUT, ENDED],
      ['sale.opened', ...GONE, ...BACK, ...GONE, 'sale.ended'],
    ],
    [
      'announces each SKU that sells out and is restocked while others remain',
      [SELLING, NO_BLACK, NO_RED, SOLD_OUT, NO_RED, SELLING],
      [
        'sale.opened',
        'sku.sold_out black',
        'sku.restocked black',
        'sku.sold_out red',
        'sku.sold_out black',
        'sale.sold_out',
        'sku.restocked black',
        'sale.restocked',
        'sku.restocked red',
      ],
    ],
    [
      'announces the opening of a sale that sold out between two checks',
      [EARLY, SOLD_OUT],
      ['sale.opened', ...GONE],
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
