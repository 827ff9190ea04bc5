/** Whatever announcements are lost, late or repeated: a hot path that knows every holder knows every holder. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import {
  fingerprintOf,
  formatAnnouncement,
  parseAnnouncement,
} from '../../src/domain/winner-announcement.ts';
import { Holders } from '../../src/hot-path/sales/holders.ts';
import { WinnerAnnouncer } from '../../src/hot-path/sales/winner-announcer.ts';

/** A sale's order, as Redis has it. */
interface Order {
  timeline: number;
  buyers: string[];
}
/** What a hot path may receive, now or later: an announcement or a page of the order. */
interface Message extends Order {
  ordinal: number;
}

const PAGE_SIZE = 7;

/** Redis and one hot path. Messages can be delivered late, twice or never. */
class Model {
  order: Order = { timeline: 0, buyers: [] };
  readonly holders = new Holders();
  readonly inTransit: Message[] = [];
  /** Views of the sale that the hot path may still use. */
  readonly views: Order[] = [];
  #buyers = 0;

  /** Reservations by a script; only those of purchases are announced. */
  reserve(count: number, isAnnounced: boolean): void {
    const buyers = Array.from({ length: count }, () => `buyer-${this.#buyers++}`);
    const { timeline } = this.order;
    const ordinal = this.order.buyers.length;
    if (isAnnounced) this.inTransit.push({ timeline, ordinal, buyers });
    this.order = { timeline, buyers: [...this.order.buyers, ...buyers] };
  }

  /** A recovery: it may keep all reservations, or have lost some. */
  recover(kept: number): void {
    const { timeline, buyers } = this.order;
    this.order = { timeline: timeline + 1, buyers: buyers.slice(0, kept) };
  }

  view(): void {
    this.views.push(this.order);
  }

  /** The reply arrives when `deliver` chooses it. */
  readPage(view = this.views.at(-1) ?? this.order): void {
    const { skip, most } = this.holders.nextUnknown(view.timeline, view.buyers.length, PAGE_SIZE);
    assert.ok(most >= 1 && most <= PAGE_SIZE);
    const { timeline, buyers } = this.order;
    this.inTransit.push({ timeline, ordinal: skip, buyers: buyers.slice(skip, skip + most) });
  }

  deliver(at: number, isKept: boolean): void {
    const index = at % this.inTransit.length;
    const message = this.inTransit[index];
    if (!message) return;
    if (!isKept) this.inTransit.splice(index, 1);
    const fingerprints = Int32Array.from(message.buyers, fingerprintOf);
    this.holders.add(message.timeline, message.ordinal, fingerprints);
  }

  lose(at: number): void {
    this.inTransit.splice(at % this.inTransit.length, 1);
  }

  check(): number {
    let complete = 0;
    for (const { timeline, buyers } of this.views) {
      if (!this.holders.areComplete(timeline, buyers.length)) continue;
      complete += buyers.length;
      for (const buyer of buyers) assert.ok(this.holders.has(fingerprintOf(buyer)), buyer);
    }
    return complete;
  }
}

const number = fc.nat(1_000);
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('purchases'), number }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('unannounced'), number }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('deliver'), number }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('repeat'), number }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('lose'), number }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('read'), number }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('view'), number }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('recover'), number }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('forget'), number }) },
);

function take(model: Model, { do: what, number: n }: { do: string; number: number }): void {
  if (what === 'purchases' || what === 'unannounced')
    model.reserve(1 + (n % 5), what === 'purchases');
  else if (what === 'deliver' || what === 'repeat') model.deliver(n, what === 'repeat');
  else if (what === 'lose') model.lose(n);
  else if (what === 'read') model.readPage();
  else if (what === 'view') model.view();
  else if (what === 'recover') model.recover(n % (model.order.buyers.length + 1));
  else model.holders.forget();
}

describe('holders', () => {
  it('are all known whenever a view counts as complete, in random histories', () => {
    let complete = 0;
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 200 }), (steps) => {
        const model = new Model();
        for (const each of steps) {
          take(model, each);
          complete += model.check();
        }
        // The rest is read page by page, and no page is read in vain.
        model.inTransit.length = 0;
        model.view();
        const pagesMax = 1 + Math.ceil(model.order.buyers.length / PAGE_SIZE);
        for (let page = 0; page < pagesMax; page++) {
          model.readPage();
          model.deliver(0, false);
        }
        const { timeline, buyers } = model.order;
        assert.ok(model.holders.areComplete(timeline, buyers.length), 'the rest was not read');
        model.check();
      }),
      { numRuns: 500 },
    );
    assert.ok(complete > 1_000, 'random histories were hardly ever complete');
  });

  it('are read only where they are not known', () => {
    const holders = new Holders();
    const unknown = () => holders.nextUnknown(3, 1_000, 100);
    const add = (from: number, to: number) =>
      holders.add(
        3,
        from,
        Int32Array.from({ length: to - from }, (_, i) => from + i + 1),
      );
    assert.deepEqual(unknown(), { skip: 0, most: 100 });
    add(20, 30);
    assert.deepEqual(unknown(), { skip: 0, most: 100 });
    add(40, 1_000);
    assert.deepEqual(unknown(), { skip: 0, most: 40 });
    add(0, 20);
    assert.deepEqual(unknown(), { skip: 30, most: 10 });
    assert.ok(!holders.areComplete(3, 1_000));
    add(30, 40);
    assert.ok(holders.areComplete(3, 1_000));
    assert.ok(!holders.areComplete(3, 1_001));
    assert.ok(!holders.areComplete(4, 1_000));
    assert.deepEqual(holders.nextUnknown(3, 1_010, 100), { skip: 1_000, most: 10 });
    assert.deepEqual(holders.nextUnknown(4, 1_010, 100), { skip: 0, most: 100 });
    assert.deepEqual(holders.nextUnknown(4, 0, 100), { skip: 0, most: 1 });
  });

  it('are read in pages if every second batch is not announced', () => {
    const holders = new Holders();
    const count = 100_000;
    for (let from = 0; from < count; from += 20) holders.add(0, from, Int32Array.of(from + 1));
    let pages = 0;
    for (; !holders.areComplete(0, count); pages++) {
      const { skip, most } = holders.nextUnknown(0, count, 5_000);
      holders.add(0, skip, new Int32Array(most).fill(1));
    }
    assert.ok(pages <= 20, `${pages} pages`);
  });
});

describe('an announcement', () => {
  const announcement = {
    sender: 'other',
    timeline: 7,
    runs: [
      { ordinal: 1_234, fingerprints: Int32Array.of(fingerprintOf('ada'), fingerprintOf('grace')) },
      { ordinal: 1_300, fingerprints: Int32Array.of(fingerprintOf('joan')) },
    ],
  };

  it('is the same bytes in every process of this version', () => {
    const bytes = formatAnnouncement(announcement);
    assert.equal(bytes.toString('latin1', 0, 10), '1 other 7\n');
    assert.equal(
      bytes.toString('hex', 10),
      'd2040000020000000ebe3376637b70061405000001000000ccc73731',
    );
    assert.notEqual(fingerprintOf(''), 0);
  });

  it('is parsed as it was formatted; of another version, or cut off, it announces nobody', () => {
    const bytes = formatAnnouncement(announcement);
    assert.deepEqual(parseAnnouncement(bytes, 'own'), announcement);
    assert.equal(parseAnnouncement(bytes, 'other'), undefined);
    bytes[0] = '2'.charCodeAt(0);
    assert.equal(parseAnnouncement(bytes, 'own'), undefined);
    bytes[0] = '1'.charCodeAt(0);
    for (const length of [0, 9, 11, 14, 17, 25, 27, bytes.length - 1])
      assert.equal(
        parseAnnouncement(bytes.subarray(0, length), 'own'),
        undefined,
        `${length} bytes`,
      );
  });

  it('waits for more batches, also without a timer, and at a sell-out it leaves at once', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const published: number[] = [];
    const announcer = new WinnerAnnouncer((_saleId, message) => {
      published.push(parseAnnouncement(message, '')!.runs.length);
      return Promise.resolve(100);
    });
    const run = { ordinal: 0, fingerprints: Int32Array.of(1) };
    for (let i = 0; i < 10; i++) announcer.add('sale', 0, run);
    assert.deepEqual(published, []);
    t.mock.timers.tick(1_000);
    assert.deepEqual(published, [10]);
    announcer.add('sale', 0, run);
    announcer.flush('sale');
    assert.deepEqual(published, [10, 1]);
    announcer.add('sale', 0, run);
    announcer.add('sale', 1, run);
    assert.deepEqual(published, [10, 1, 1]);
    await sleep(1_100);
    announcer.add('sale', 1, run);
    assert.deepEqual(published, [10, 1, 1, 2]);
    announcer.close();
  });
});
