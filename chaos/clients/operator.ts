/**
 * The operator of a run: adds and withdraws stock, pauses and resumes, and repeats each request until it is settled.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../harness/random.ts';
import type { Client } from './client.ts';

const UNITS_MOST = 20;
const PAUSED_MS = { least: 100, most: 700 };

/** Leaves the sale open. */
export async function operate(
  client: Client,
  random: Random,
  choices: { forMs: number; skus: readonly string[] },
): Promise<void> {
  const actions = random.between(3, 7);
  const times = Array.from({ length: actions }, () => random.between(0, choices.forMs));
  let wentMs = 0;
  for (const [index, atMs] of times.sort((a, b) => a - b).entries()) {
    await sleep(Math.max(0, atMs - wentMs));
    wentMs = atMs;
    const kind = random.pick(['load', 'load', 'withdraw', 'pause'] as const);
    if (kind === 'pause') {
      await client.sendUntilSettled({ kind: 'pause' }, random);
      await sleep(random.between(PAUSED_MS.least, PAUSED_MS.most));
      await client.sendUntilSettled({ kind: 'resume' }, random);
      continue;
    }
    const units = random.between(1, UNITS_MOST);
    const delta = kind === 'load' ? units : -units;
    const request = {
      kind: 'stock',
      key: `stock-${index}`,
      sku: random.pick(choices.skus),
      delta,
    } as const;
    await client.sendUntilSettled(request, random);
    if (random.chance(0.3)) await client.sendUntilSettled(request, random);
  }
}
