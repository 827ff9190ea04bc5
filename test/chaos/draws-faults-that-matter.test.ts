/** A schedule isolates a master with clients that can sell on it, and mostly long enough for a promotion. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawSchedule } from '../../chaos/faults/schedule.ts';
import { Random } from '../../harness/random.ts';

const SCHEDULES = 300;
/** A cluster needs 2 s to notice that a master is gone; the rest is for the election. */
const PROMOTION_MS = 4_500;

test('an isolated master keeps a hot path, mostly until a replica is promoted and sometimes not', () => {
  const isolations = Array.from({ length: SCHEDULES }, (_, seed) =>
    drawSchedule(new Random(seed), {
      topology: 'cluster',
      hasClocks: false,
      windowMs: 5_000,
      faults: { least: 6, most: 14 },
      dataLosses: [],
      copyChance: 0,
    }),
  )
    .flat()
    .filter(({ kind }) => kind === 'isolate');
  assert.ok(isolations.length > 100, `${isolations.length} isolations`);
  const withoutHotPath = isolations.filter(
    ({ keeps }) => !keeps!.some((name) => name.startsWith('hot-path')),
  );
  assert.deepEqual(withoutHotPath, []);
  const long = isolations.filter(({ forMs }) => forMs >= PROMOTION_MS).length;
  assert.ok(long > isolations.length * 0.6, `${long} of ${isolations.length} are long`);
  assert.ok(long < isolations.length, 'none ends early');
});
