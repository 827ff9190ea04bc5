/** The scenario of the suite: buyers, an operator and a schedule of faults, all drawn from one seed. */

import { setTimeout as sleep } from 'node:timers/promises';
import { Random } from '../harness/random.ts';
import { askUntil, comeLate, endAndArchive } from './clients/archiving.ts';
import { Buyer } from './clients/buyer.ts';
import { nowMs } from './clients/history.ts';
import { operate } from './clients/operator.ts';
import { runSchedule } from './faults/inject.ts';
import { takeBackup } from './faults/restored-backup.ts';
import { type DataLossKind, drawSchedule, type PlannedFault } from './faults/schedule.ts';
import type { Acted, RunContext, Scenario } from './run.ts';
import type { TopologyName } from './topologies/topology.ts';

export interface SeededChoices {
  seed: number;
  topology: TopologyName;
  /** Whether the Redis servers' clocks can be set. */
  hasClocks: boolean;
  buyers: number;
  /** Buyers arrive, operators act and faults start within this time. */
  windowMs: number;
  faults: { least: number; most: number };
  dataLosses: readonly DataLossKind[];
  copyChance: number;
  /** The probability that the sale is ended and archived when it is at rest, while further faults are injected. */
  archiveChance: number;
  /** The probability that a backup is restored. Redis must keep its data, or what only it has could be lost. */
  restoreChance: number;
}

/** How long clients repeat requests after the window: several times what a busy machine needs. */
const PATIENCE_MS = 90_000;
/** While a sale is archived. */
const ARCHIVE_FAULTS = { windowMs: 2_500, faults: { least: 1, most: 5 }, copyChance: 0 };
const AT_REST_MS_MAX = 60_000;
/** While a backup is restored. */
const RESTORE_FAULTS = {
  windowMs: 2_500,
  faults: { least: 1, most: 4 },
  dataLosses: [],
  copyChance: 0,
};
/** Buyers who hold and release in a loop. */
const LOOPERS = 4;

export function seededScenario(choices: SeededChoices): {
  scenario: Scenario;
  schedule: PlannedFault[];
} {
  const random = new Random(choices.seed);
  const schedule = drawSchedule(random.of('schedule'), choices);
  const archiving = random.of('archiving');
  const { dataLosses, topology, hasClocks } = choices;
  const later = archiving.chance(choices.archiveChance)
    ? drawSchedule(archiving, { ...ARCHIVE_FAULTS, dataLosses, topology, hasClocks })
    : undefined;
  const restoring = random.of('restoring');
  const restores = restoring.chance(choices.restoreChance);
  const during = restores
    ? drawSchedule(restoring, { ...RESTORE_FAULTS, topology, hasClocks }).filter(sparesAdmin)
    : [];
  const share = (ofBuyers: number) => Math.ceil(choices.buyers * ofBuyers);
  return {
    schedule: [...schedule, ...during, ...(later ?? [])],
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
      act: async (scene) => {
        const acted = await act(scene, choices, schedule, restores ? during : undefined);
        return later ? archive(scene, acted, later) : acted;
      },
    },
  };
}

async function act(
  { stack, client, inspector, random, terms }: RunContext,
  { buyers, windowMs }: SeededChoices,
  schedule: readonly PlannedFault[],
  restoring: readonly PlannedFault[] | undefined,
): Promise<Acted> {
  client.patienceEndsMs = nowMs() + windowMs + PATIENCE_MS;
  const skus = terms.skus.map(({ sku }) => sku);
  const arrivals = random.of('arrivals');
  // Some arrive while the backup is restored.
  const arriveWithinMs = restoring ? 2 * windowMs : windowMs;
  const crowd = Array.from({ length: buyers }, async (_, index) => {
    const buyerId = `buyer-${index + 1}`;
    const buyer = new Buyer(buyerId, client, random.of(buyerId), skus);
    await buyer.shop(arrivals.between(0, arriveWithinMs));
  });
  const loopers = Array.from({ length: LOOPERS }, async (_, index) => {
    const buyerId = `looper-${index + 1}`;
    const looper = new Buyer(buyerId, client, random.of(buyerId), skus);
    await looper.holdInLoop(arrivals.between(0, windowMs));
  });
  const backup =
    restoring && sleep(arrivals.between(0, windowMs / 2)).then(() => takeBackup(stack, inspector));
  const [acted] = await Promise.all([
    Promise.all([
      runSchedule(schedule, stack),
      operate(client, random.of('operator'), { forMs: windowMs, skus }),
    ]).then(async ([done]): Promise<Acted> => {
      const restore = await backup;
      if (!restore) return { ...done, calmAtMs: performance.now() };
      // The time that PostgreSQL takes to restore a backup tells nothing about the engine.
      client.patienceEndsMs = Number.POSITIVE_INFINITY;
      const [restored, later] = await Promise.all([restore(), runSchedule(restoring!, stack)]);
      client.patienceEndsMs = nowMs() + PATIENCE_MS;
      const begun = [...done.begun, ...later.begun];
      return { ...done, begun, restore: restored, calmAtMs: performance.now() };
    }),
    ...crowd,
    ...loopers,
  ]);
  return acted;
}

/** The operator keeps admin stopped while a backup is restored. */
function sparesAdmin({ target }: PlannedFault): boolean {
  return !target.includes('admin');
}

/** Ends and archives the sale once it is at rest. The clients repeat their requests while the faults are injected. */
async function archive(
  { stack, client, inspector, random, terms }: RunContext,
  acted: Acted,
  schedule: readonly PlannedFault[],
): Promise<Acted> {
  // The run reports a sale that does not come to rest.
  if ((await inspector.waitForRest(terms.saleId, AT_REST_MS_MAX)) !== undefined) return acted;
  client.patienceEndsMs = nowMs() + PATIENCE_MS;
  const [{ losses, consumed, begun, calmAtMs }] = await Promise.all([
    runSchedule(schedule, stack).then((done) => ({ ...done, calmAtMs: performance.now() })),
    endAndArchive(client, random.of('archiver')).then(() =>
      comeLate(client, random.of('late'), terms.skus[0]!.sku),
    ),
  ]);
  await askUntil(
    client,
    random.of('later'),
    async () => (await inspector.waitForRest(terms.saleId, 0)) === undefined,
  );
  return {
    ...acted,
    losses: [...acted.losses, ...losses],
    consumed: [...(acted.consumed ?? []), ...consumed],
    begun: [...(acted.begun ?? []), ...begun],
    calmAtMs,
  };
}
