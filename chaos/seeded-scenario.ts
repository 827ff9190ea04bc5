/** The scenario of the suite: buyers, an operator and a schedule of faults, all drawn from one seed. */

import { Random } from '../harness/random.ts';
import { Buyer } from './clients/buyer.ts';
import { nowMs } from './clients/history.ts';
import { operate } from './clients/operator.ts';
import { runSchedule } from './faults/inject.ts';
import { type DataLossKind, drawSchedule, type PlannedFault } from './faults/schedule.ts';
import type { Acted, RunContext, Scenario } from './run.ts';

export interface SeededChoices {
  seed: number;
  buyers: number;
  /** Buyers arrive, operators act and faults start within this time. */
  windowMs: number;
  faults: { least: number; most: number };
  dataLosses: readonly DataLossKind[];
  copyChance: number;
}

/** How long clients repeat requests after the window: several times what a busy machine needs. */
const PATIENCE_MS = 90_000;
/** Buyers who hold and release in a loop. */
const LOOPERS = 4;

export function seededScenario(choices: SeededChoices): {
  scenario: Scenario;
  schedule: PlannedFault[];
} {
  const random = new Random(choices.seed);
  const schedule = drawSchedule(random.of('schedule'), choices);
  const share = (ofBuyers: number) => Math.ceil(choices.buyers * ofBuyers);
  return {
    schedule,
    scenario: {
      terms: {
        perBuyerLimit: 3,
        holdSeconds: random.of('terms').between(1, 2),
        waitlistHoldSeconds: random.of('waitlist').between(1, 3),
        skus: [
          { sku: 'phone', price: 49_900, stock: share(0.12), perBuyerLimit: 2 },
          { sku: 'case', price: 1_900, stock: share(0.2) },
          { sku: 'cable', price: 900, stock: share(0.1) },
        ],
      },
      act: (scene) => act(scene, choices, schedule),
    },
  };
}

async function act(
  { stack, client, random, terms }: RunContext,
  { buyers, windowMs }: SeededChoices,
  schedule: readonly PlannedFault[],
): Promise<Acted> {
  client.patienceEndsMs = nowMs() + windowMs + PATIENCE_MS;
  const skus = terms.skus.map(({ sku }) => sku);
  const arrivals = random.of('arrivals');
  const crowd = Array.from({ length: buyers }, async (_, index) => {
    const buyerId = `buyer-${index + 1}`;
    const buyer = new Buyer(buyerId, client, random.of(buyerId), skus);
    await buyer.shop(arrivals.between(0, windowMs));
  });
  const loopers = Array.from({ length: LOOPERS }, async (_, index) => {
    const buyerId = `looper-${index + 1}`;
    const looper = new Buyer(buyerId, client, random.of(buyerId), skus);
    await looper.holdInLoop(arrivals.between(0, windowMs));
  });
  const [acted] = await Promise.all([
    runSchedule(schedule, stack).then((done) => ({ ...done, calmAtMs: performance.now() })),
    operate(client, random.of('operator'), { forMs: windowMs, skus }),
    ...crowd,
    ...loopers,
  ]);
  return acted;
}
