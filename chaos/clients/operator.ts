/**
 * The operator of a run: adds and withdraws stock, pauses and resumes, sometimes moves the end, and repeats each request
 * until it is settled.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../../harness/random.ts';
import type { Client } from './client.ts';
import { nowMs } from './history.ts';

const UNITS_MOST = 20;
const PAUSED_MS = { least: 100, most: 700 };
/** The rest of the runs keep selling, which exercises more. */
const RUNS_WITH_END = 0.4;
const END_AFTER_MS = { least: 150, most: 900 };
/** The second change of the end reaches admin that long after the first end; a fault delays it further. */
const LATE_MS = { least: -60, most: 40 };
const HOUR_MS = 3_600_000;

/** Leaves the sale open, unless it ends. */
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
  if (random.chance(RUNS_WITH_END)) await moveEnd(client, random);
}

/** Moves the end to a time soon, and when that has nearly or just passed, to a later one. */
async function moveEnd(client: Client, random: Random): Promise<void> {
  const endsAtMs = nowMs() + random.between(END_AFTER_MS.least, END_AFTER_MS.most);
  await client.sendUntilSettled({ kind: 'move-end', endsAtMs }, random);
  await sleep(Math.max(0, endsAtMs - nowMs() + random.between(LATE_MS.least, LATE_MS.most)));
  const laterMs = endsAtMs + HOUR_MS;
  await client.sendUntilSettled({ kind: 'move-end', endsAtMs: laterMs }, random);
}
