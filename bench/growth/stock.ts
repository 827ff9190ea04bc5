/**
 * The cost of a win and a refusal when many units are already sold, and the time until a hot path knows every holder
 * (a buyer with a reservation). From then on it refuses without Redis.
 *
 * One turn has five steps. The bench sells the units by calls of the script and announces the winners, as a hot path
 * would; a few buyers use the hot path meanwhile, so it hears the announcements.
 * Strangers send until the hot path refuses by itself. They send to a second hot path, which had no buyers before, until it
 * has read the holders, and then to the first one for the time of a turn. The bench reads the holders once more, for
 * its cost in Redis. More stock is loaded, and every request wins.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { metric } from '../../harness/engine/metrics.ts';
import { eventually } from '../../harness/eventually.ts';
import { buy } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import type { SaleDefinition } from '../../src/domain/sale.ts';
import { fingerprintOf } from '../../src/domain/winner-announcement.ts';
import { WinnerAnnouncer } from '../../src/hot-path/sales/winner-announcer.ts';
import { readOrder } from '../../src/lua/read/read-order.ts';
import { type Buyers, tokenOf, writeBuyers } from '../load/buyers.ts';
import { buyTemplate, runWrk } from '../load/wrk.ts';
import { countOutcomes, responseOf, startEngine } from '../measure/contestants.ts';
import { measureRedis } from '../measure/redis-cpu.ts';
import { type BenchOptions, expect } from '../measure/scenario.ts';
import { HOLD_SECONDS, type Started, type Testbed } from '../measure/testbed.ts';
import { BUYERS } from '../scenarios/refusal.ts';
import { CONNECTIONS, LIMIT, STOCK } from '../scenarios/win.ts';
import { costOf } from './cost.ts';
import { growth } from './points.ts';
import { expectSold, type HotPath, load, openHotPath } from './wins.ts';

/** Refusals without Redis, from `/metrics`. */
export const REFUSED_HERE = 'flash_sale_local_sold_out_total';
const UNITS = [1_000, 10_000, 100_000, 1_000_000];
/** Of the script calls that sell the units before the measurement. */
const BATCH_SIZE = 256;
/** For each of these units, one is sold by the hot path, so that it does not become idle. */
const UNITS_PER_EARLY_BUYER = 50_000;
/** As src/hot-path/sales/sold-out.ts reads the holders. */
const PART = 5_000;
/** With fewer units, the time until every holder is known is too short to measure. */
const LONG = 100_000;
/** Not more often, because writing `/metrics` costs CPU time of the measured process. */
const LOOK_MS = 20;
const LEARNING_SECONDS_MAX = 120;
/** A view of the sale may be late; then the hot path calls Redis. */
const REFUSED_HERE_SHARE_MIN = 0.95;

export const stock = growth({
  name: 'stock',
  title: 'Wins and refusals by units already sold',
  by: 'units',
  points: () => UNITS,
  testbed: { apart: true },
  settings: { connections: CONNECTIONS, buyers: 'warm', batchSizeBefore: BATCH_SIZE },
  ratios: [
    { what: 'wins per second', metric: 'perSecond' },
    { what: 'Redis CPU per win', metric: 'redisMicros' },
    { what: 'refusals per second', metric: 'refusalsPerSecond' },
    { what: 'hot path CPU per refusal', metric: 'refusalMicros' },
  ],
  async begin(testbed, options) {
    const ready = await getReady(testbed, options);
    return async (units) => {
      const { redisRefusalMicros, holderMicros, ...figures } = await soldTurn(
        testbed,
        ready,
        units,
      );
      return units < LONG ? figures : { ...figures, redisRefusalMicros, holderMicros };
    };
  },
});

/** A hot path, buyers whose tokens it has cached, and strangers without reservations. */
export interface Ready extends HotPath {
  /** A hot path without buyers before the sell-out. */
  late: Started;
  strangers: Buyers;
  seconds: number;
}

export async function getReady(
  testbed: Testbed,
  { seconds, report }: Pick<BenchOptions, 'seconds' | 'report'>,
): Promise<Ready> {
  const strangers = await writeBuyers(join(testbed.directory, 'strangers'), {
    name: 'late',
    count: BUYERS,
    purchasesEach: 1,
  });
  report('warming the token cache');
  const hotPath = await openHotPath(testbed, await startEngine(testbed), { name: 'warm', seconds });
  return { ...hotPath, late: await startEngine(testbed, {}, 'late'), strangers, seconds };
}

/** See the head of this file. */
export async function soldTurn(testbed: Testbed, ready: Ready, units: number) {
  const definition = await makeSale(testbed.servers, {
    stock: units,
    perBuyerLimit: LIMIT,
    holdSeconds: HOLD_SECONDS,
  });
  const { saleId } = definition;
  await sell(testbed, ready, saleId, units);
  const { knownMs } = await learn(testbed, ready, saleId);
  const late = await learn(testbed, { ...ready, process: ready.late }, saleId);
  // After it, so that no request to the other hot path is in flight when more stock is loaded.
  const refusing = await refuse(testbed, ready, saleId);
  const holderMicros = await readEverybody(testbed, saleId, units);
  const winning = await win(testbed, ready, { definition, units });
  await testbed.removeSale(saleId);
  // Without the cost of sending the holders to the hot path meanwhile.
  const redisRefusalMicros = (late.redisMicros - units * holderMicros) / late.byRedis;
  const lateKnownMs = late.knownMs;
  return { ...winning, ...refusing, knownMs, lateKnownMs, redisRefusalMicros, holderMicros };
}

async function sell(testbed: Testbed, { process }: Ready, saleId: string, units: number) {
  const { shards } = testbed.servers;
  const announcer = new WinnerAnnouncer((...message) => shards.publishWinners(...message));
  for (let sold = 0; sold < units; ) {
    if (sold % UNITS_PER_EARLY_BUYER === 0) {
      const early = { token: tokenOf(`early-${sold}`), key: `key-${sold}` };
      const { code, body } = await responseOf(process, saleId, early);
      expect(code === 201, body);
      sold += 1;
    }
    const untilNext = UNITS_PER_EARLY_BUYER - (sold % UNITS_PER_EARLY_BUYER);
    const count = Math.min(BATCH_SIZE, units - sold, untilNext);
    const buyerIds = Array.from({ length: count }, (_, i) => `buyer-${sold + i}`);
    const outcomes = await buy(shards, saleId, buyerIds);
    const [first] = outcomes;
    expect(first?.outcome === 'reserved', `the outcome of a purchase was ${first?.outcome}`);
    const { timeline, ordinal } = first.firstPlace;
    const fingerprints = Int32Array.from(buyerIds, fingerprintOf);
    announcer.add(saleId, timeline, { ordinal, fingerprints });
    sold += count;
  }
  announcer.close();
}

/** From the first refusal by Redis to the first one by the hot path itself, both from `/metrics`. */
async function learn(testbed: Testbed, { process, strangers }: Ready, saleId: string) {
  const before = await refusalsOf(process);
  const effort = await measureRedis(testbed.servers.shards.of(saleId).client);
  const isKnown = new AbortController();
  const sending = runWrk({
    port: process.port,
    template: buyTemplate(saleId),
    file: strangers.file,
    seconds: LEARNING_SECONDS_MAX,
    connections: CONNECTIONS,
    repeats: true,
    cores: testbed.loadCores,
    stopping: AbortSignal.any([testbed.stopping, isKnown.signal]),
  }).then(
    () => new Error(`the holders were not known after ${LEARNING_SECONDS_MAX} s`),
    (error: Error) => error,
  );
  try {
    for (let firstAt: number | undefined; ; ) {
      const refusals = await refusalsOf(process);
      const nowAt = performance.now();
      if (refusals.all > before.all) firstAt ??= nowAt;
      if (firstAt !== undefined && refusals.here > before.here) {
        const { cpuSeconds } = await effort();
        const byRedis = refusals.all - before.all - (refusals.here - before.here);
        return { knownMs: nowAt - firstAt, byRedis, redisMicros: cpuSeconds * 1e6 };
      }
      const ended = await Promise.race([sending, sleep(LOOK_MS)]);
      if (ended) throw ended;
    }
  } finally {
    isKnown.abort();
    await sending;
  }
}

async function refusalsOf(hotPath: Started): Promise<{ all: number; here: number }> {
  const here = await metric(hotPath, REFUSED_HERE);
  return { all: (await countOutcomes(hotPath)).get('sold_out') ?? 0, here };
}

async function refuse(testbed: Testbed, { process, strangers, seconds }: Ready, saleId: string) {
  const before = await refusalsOf(process);
  const { requests, refused, figures } = await costOf(testbed, [
    {
      hotPath: process,
      template: buyTemplate(saleId),
      file: strangers.file,
      seconds,
      connections: CONNECTIONS,
      repeats: true,
    },
  ]);
  const here = (await refusalsOf(process)).here - before.here;
  expect(refused === requests, 'a stranger was not refused');
  expect(
    here >= requests * REFUSED_HERE_SHARE_MIN,
    `Redis refused ${requests - here} of ${requests} requests`,
  );
  return { refusalsPerSecond: figures.perSecond, refusalMicros: figures.serverMicros };
}

async function win(
  testbed: Testbed,
  { process, buyers, seconds }: Ready,
  { definition, units }: { definition: SaleDefinition; units: number },
) {
  const { saleId } = definition;
  await load(testbed.servers, definition, [{ sku: 'unit', delta: STOCK }]);
  // Until then the hot path still treats the sale as sold out.
  await eventually(async () => {
    const shown = (await (await fetch(`${process.url}/v1/sales/${saleId}`)).json()) as {
      skus: { soldOut: boolean }[];
    };
    if (shown.skus[0]!.soldOut) throw new Error('the hot path has not seen the new stock');
  });
  const { requests, refused, figures } = await costOf(testbed, [
    {
      hotPath: process,
      template: buyTemplate(saleId),
      file: buyers.file,
      seconds,
      connections: CONNECTIONS,
      repeats: false,
    },
  ]);
  expect(refused === 0, `${refused} buyers were refused`);
  await expectSold(testbed, [saleId], { requests, inFlight: CONNECTIONS, before: units });
  return figures;
}

/** Redis CPU per holder read, µs. */
async function readEverybody(
  { servers: { shards } }: Testbed,
  saleId: string,
  units: number,
): Promise<number> {
  const effort = await measureRedis(shards.of(saleId).client);
  for (let skip = 0; skip < units; skip += PART) {
    const reply = await shards.call(readOrder, saleId, skip, PART);
    expect(
      reply.outcome === 'known' && reply.buyerIds.length === Math.min(PART, units - skip),
      `after ${skip} buyers: ${reply.outcome}`,
    );
  }
  return ((await effort()).cpuSeconds / units) * 1e6;
}
