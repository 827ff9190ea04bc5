/**
 * Variants on a cluster, whose master is isolated together with a hot path until a replica is promoted. No variant
 * lacks the grace period of the old master: responses show only what the replicas have, so clients see no difference.
 */
import assert from 'node:assert/strict';
import { eventually } from '../../harness/eventually.ts';
import type { Steps } from './steps.ts';
import type { Variant } from './variant.ts';

const BUYERS = 40;
const PROMOTED_MS_MAX = 20_000;
/** For the promotion and the recovery. */
const PATIENCE_MS = 30_000;

export const REPLICA_VARIANTS: readonly Variant[] = [
  {
    name: 'a hot path does not wait for the replicas',
    mistake: {
      file: 'redis/shard.ts',
      original: 'const reached = await this.#barrier.wait(saleId);',
      broken: 'const reached = before;',
    },
    expected: 'lost-reservation',
    stock: 200,
    holdSeconds: 1,
    topology: 'cluster',
    durability: 'replicated',
    act: buyWhileIsolated,
  },
];

/** The buyers of one hot path reach the isolated master only, the others the promoted replica. */
async function buyWhileIsolated(steps: Steps): Promise<void> {
  const { stack } = steps;
  const { redis } = stack;
  // So that both hot paths are connected.
  await steps.buyMany(BUYERS, 'early');
  const old = await redis.master();
  steps.setPatience(PATIENCE_MS);
  stack.isolate(old, new Set(['hot-path-1']));
  const bought = steps.buyMany(BUYERS, 'meanwhile');
  await eventually(async () => assert.notEqual((await redis.master()).name, old.name), {
    timeoutMs: PROMOTED_MS_MAX,
  });
  stack.reunite();
  await bought;
  await redis.untilSettled();
}
