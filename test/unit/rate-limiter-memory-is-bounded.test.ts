/** A rate limit that could be flooded, or that took memory for each name, would be the attack itself. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { usedMiB } from '../../harness/heap.ts';
import { hashName } from '../../src/hot-path/admission/hashed-name.ts';
import { RateLimiter } from '../../src/hot-path/admission/rate-limiter.ts';

/** How many of so many requests at once are let through. */
function taken(rate: RateLimiter, key: string, count: number, nowMs: number): number {
  let passed = 0;
  for (let i = 0; i < count; i++) if (rate.take(hashName(key), nowMs)) passed++;
  return passed;
}

describe('a request rate', () => {
  it('lets ten seconds of allowance through at once, then as much as a second gives', () => {
    const rate = new RateLimiter(100);
    assert.equal(taken(rate, 'ada', 5_000, 1_000), 1_000);
    assert.equal(taken(rate, 'ada', 5_000, 1_500), 50);
    assert.equal(taken(rate, 'ada', 5_000, 2_500), 100);
    assert.equal(taken(rate, 'ada', 5_000, 1_000_000), 1_000);
  });

  it('counts what was refused for nothing, so that who waits is served', () => {
    const rate = new RateLimiter(1);
    assert.equal(taken(rate, 'ada', 1_000_000, 0), 10);
    assert.equal(taken(rate, 'ada', 1, 1_000), 1);
  });

  it('counts each key for itself', () => {
    const rate = new RateLimiter(1);
    taken(rate, 'ada', 100, 0);
    for (let i = 0; i < 10_000; i++) assert.ok(rate.take(hashName(`buyer-${i}`), 0), `buyer-${i}`);
  });

  it('does not let off who is at the limit because a million others came by', () => {
    const rate = new RateLimiter(1);
    taken(rate, 'ada', 100, 0);
    for (let i = 0; i < 1_000_000; i++) rate.take(hashName(`invented-${i}`), 0);
    assert.equal(rate.take(hashName('ada'), 0), false);
  });

  it('takes no memory for keys that it has not seen', async () => {
    const rate = new RateLimiter(1);
    const keys = Array.from({ length: 200_000 }, (_, i) => hashName(`invented-${i}`));
    for (const key of keys) rate.take(key, 0);
    const atFirst = await usedMiB();
    for (let round = 1; round <= 10; round++) for (const key of keys) rate.take(key, round);
    const grownMiB = (await usedMiB()) - atFirst;
    assert.ok(grownMiB < 10, `${grownMiB} MiB more`);
  });
});
