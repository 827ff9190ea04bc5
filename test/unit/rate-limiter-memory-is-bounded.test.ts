/** A rate limiter that can be flooded, or that allocates memory per key, would itself enable an attack. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { usedMiB } from '../../harness/heap.ts';
import { hashName } from '../../src/hot-path/admission/hashed-name.ts';
import { RateLimiter } from '../../src/hot-path/admission/rate-limiter.ts';

/** How many of `count` requests at once the limiter allows. */
function taken(rate: RateLimiter, key: string, count: number, nowMs: number): number {
  let passed = 0;
  for (let i = 0; i < count; i++) if (rate.take(hashName(key), nowMs)) passed++;
  return passed;
}

describe('a request rate', () => {
  it('allows a burst of ten seconds, then the rate per second', () => {
    const rate = new RateLimiter(100);
    assert.equal(taken(rate, 'ada', 5_000, 1_000), 1_000);
    assert.equal(taken(rate, 'ada', 5_000, 1_500), 50);
    assert.equal(taken(rate, 'ada', 5_000, 2_500), 100);
    assert.equal(taken(rate, 'ada', 5_000, 1_000_000), 1_000);
  });

  it('does not count refused requests, so that waiting helps', () => {
    const rate = new RateLimiter(1);
    assert.equal(taken(rate, 'ada', 1_000_000, 0), 10);
    assert.equal(taken(rate, 'ada', 1, 1_000), 1);
  });

  it('counts each key separately', () => {
    const rate = new RateLimiter(1);
    taken(rate, 'ada', 100, 0);
    for (let i = 0; i < 10_000; i++) assert.ok(rate.take(hashName(`buyer-${i}`), 0), `buyer-${i}`);
  });

  it('still limits a key after a million other keys', () => {
    const rate = new RateLimiter(1);
    taken(rate, 'ada', 100, 0);
    for (let i = 0; i < 1_000_000; i++) rate.take(hashName(`invented-${i}`), 0);
    assert.equal(rate.take(hashName('ada'), 0), false);
  });

  it('allocates no memory for new keys', async () => {
    const rate = new RateLimiter(1);
    const keys = Array.from({ length: 200_000 }, (_, i) => hashName(`invented-${i}`));
    for (const key of keys) rate.take(key, 0);
    const atFirst = await usedMiB();
    for (let round = 1; round <= 10; round++) for (const key of keys) rate.take(key, round);
    const grownMiB = (await usedMiB()) - atFirst;
    assert.ok(grownMiB < 10, `${grownMiB} MiB more`);
  });
});
