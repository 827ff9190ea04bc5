/**
 * How long a reservation takes to become durable in PostgreSQL, at half of full load. It is the time from the
 * reservation's own time, set by Redis, until its committed row is visible to a poll every few milliseconds. Purchases
 * arrive at a fixed rate.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ENGINE, startEngine, startPersister } from '../measure/contestants.ts';
import { runRounds, spreadOf } from '../measure/rounds.ts';
import type { Scenario } from '../measure/scenario.ts';
import { openTestbed, type Testbed } from '../measure/testbed.ts';
import {
  durableRows,
  ENGINE_TABLES,
  emptyTables,
  sellDurably,
  writeDurableBuyers,
} from './durable.ts';

const LOOK_MS = 4;
/** Rounds that measure full load before half of it is sent. */
const FULL_ROUNDS = 3;

interface Seen {
  atMs: number;
  rows: number;
}

export const lag: Scenario = {
  name: 'lag',
  title: 'From a reservation to its durable row, at half of full load',
  async run(options) {
    const testbed = await openTestbed({ stopping: options.stopping });
    try {
      const buyers = await writeDurableBuyers(testbed, options.seconds);
      await startPersister(testbed);
      const engine = await startEngine(testbed);
      const load = { port: engine.port, seconds: options.seconds };
      const speeds: number[] = [];
      for (let round = 0; round <= FULL_ROUNDS; round++) {
        options.report(`full load, ${round} of ${FULL_ROUNDS}`);
        const { wrk, rows, drainSeconds } = await sellDurably(testbed, buyers, load);
        if (round > 0) speeds.push(rows / (wrk.seconds + drainSeconds));
        await emptyTables(testbed, ENGINE_TABLES);
      }
      const perSecond = Math.round(spreadOf(speeds).median / 2);
      const curves: Record<string, [number, number][]> = {};
      const rounds = await runRounds(options, [ENGINE], async (name) => {
        const seen: Seen[] = [];
        const paced = { ...load, perSecond };
        const { saleId, rows, wrk } = await sellDurably(testbed, buyers, paced, (sale) =>
          lookAt(testbed, sale, seen),
        );
        const lagsMs = await lagsOf(testbed, saleId, seen);
        await emptyTables(testbed, ENGINE_TABLES);
        const at = (percent: number) =>
          lagsMs[Math.max(0, Math.ceil((percent / 100) * lagsMs.length) - 1)]!;
        curves[name] = [1, 10, 25, 50, 75, 90, 95, 99, 99.9, 100].map((each) => [each, at(each)]);
        return {
          perSecond: rows / wrk.seconds,
          p50Ms: at(50),
          p99Ms: at(99),
        };
      });
      return {
        settings: { wantedPerSecond: perSecond, durability: testbed.durability, cores: 'shared' },
        rounds,
        comparisons: [
          {
            what: 'from reservation to durable row, p99',
            metric: 'p99Ms',
            of: ENGINE,
            unit: 'ms',
            atMost: 250,
          },
          {
            what: 'from reservation to durable row, p50',
            metric: 'p50Ms',
            of: ENGINE,
            unit: 'ms',
          },
        ],
        curves,
      };
    } finally {
      await testbed.close();
    }
  },
};

/** Polls until the returned function is called, and once more after that. */
function lookAt(testbed: Testbed, saleId: string, seen: Seen[]): () => Promise<void> {
  let isOver = false;
  const looking = (async () => {
    for (let isLast = false; !isLast; ) {
      isLast = isOver;
      const rows = await durableRows(testbed, saleId);
      if (rows > (seen.at(-1)?.rows ?? 0)) seen.push({ atMs: Date.now(), rows });
      if (!isLast) await sleep(LOOK_MS);
    }
  })();
  return () => {
    isOver = true;
    return looking;
  };
}

/** Sorted, ms. These sales have only reservations, so the number of an event is the position of its reservation. */
async function lagsOf({ servers: { sql } }: Testbed, saleId: string, seen: readonly Seen[]) {
  const rows = await sql<{ position: string; reservedAt: Date }[]>`
    SELECT position, reserved_at FROM reservations WHERE sale_id = ${saleId} ORDER BY position`;
  let look = 0;
  const lags = rows.map(({ position, reservedAt }) => {
    while (seen[look]!.rows < Number(position)) look++;
    return seen[look]!.atMs - reservedAt.getTime();
  });
  return lags.toSorted((a, b) => a - b);
}
