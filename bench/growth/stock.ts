/**
 * Units of a sale, all of them somebody's already: what a win and a refusal cost that late, and how long it takes a front
 * end to know everybody who has something, which is when it stops asking Redis.
 *
 * A turn: the units are sold by the script alone; strangers press until the front end refuses by itself, and then for the
 * time of a turn; who has something is read once more, by the bench, for what that costs Redis; more stock is loaded,
 * and everybody wins.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { metric } from '../../harness/engine/metrics.ts';
import { eventually } from '../../harness/eventually.ts';
import { buyMany } from '../../harness/sales/purchases.ts';
import { makeSale } from '../../harness/sales/sales.ts';
import type { SaleDefinition } from '../../src/domain/sale.ts';
import { readOrder } from '../../src/lua/read/read-order.ts';
import { type Buyers, writeBuyers } from '../load/buyers.ts';
import { buyTemplate, press } from '../load/wrk.ts';
import { countOutcomes, startEngine } from '../measure/contestants.ts';
import { measureRedis } from '../measure/redis-cpu.ts';
import { type BenchOptions, expect } from '../measure/scenario.ts';
import { HOLD_SECONDS, type Started, type Testbed } from '../measure/testbed.ts';
import { BUYERS } from '../scenarios/refusal.ts';
import { CONNECTIONS, LIMIT, STOCK } from '../scenarios/win.ts';
import { costOf } from './cost.ts';
import { growth } from './points.ts';
import { expectSold, type HotPath, load, openHotPath } from './wins.ts';

/** Refusals without Redis, at `/metrics`. */
export const REFUSED_HERE = 'flash_sale_local_sold_out_total';
const UNITS = [1_000, 10_000, 100_000, 1_000_000];
/** Of the script that sells them beforehand. */
const BATCH_SIZE = 256;
/** As src/hot-path/sales/sold-out.ts reads them. */
const PART = 1_000;
/** From so many units on, what happens until everybody is known lasts long enough to be measured. */
const LONG = 100_000;
/** No more often: writing `/metrics` takes time of the very process that is measured. */
const LOOK_MS = 20;
const LEARNING_SECONDS_MAX = 120;
/** A reading of the sale may be late now and then, and then Redis is asked. */
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

/** A front end, buyers whom it knows, and strangers who have nothing. */
export interface Ready extends HotPath {
  strangers: Buyers;
  seconds: number;
}

export async function getReady(
  testbed: Testbed,
  { seconds, tell }: Pick<BenchOptions, 'seconds' | 'tell'>,
): Promise<Ready> {
  const strangers = await writeBuyers(join(testbed.directory, 'strangers'), {
    name: 'late',
    count: BUYERS,
    purchasesEach: 1,
  });
  tell('everybody looks at a sale');
  const hotPath = await openHotPath(testbed, await startEngine(testbed), { name: 'warm', seconds });
  return { ...hotPath, strangers, seconds };
}

/** See the head of this file. */
export async function soldTurn(testbed: Testbed, ready: Ready, units: number) {
  const definition = await makeSale(testbed.servers, {
    stock: units,
    perBuyerLimit: LIMIT,
    holdSeconds: HOLD_SECONDS,
  });
  const { saleId } = definition;
  await buyMany(testbed.servers.shards, saleId, { count: units, batchSize: BATCH_SIZE });
  const { knownMs, byRedis, redisMicros } = await learn(testbed, ready, saleId);
  const refusing = await refuse(testbed, ready, saleId);
  const holderMicros = await readEverybody(testbed, saleId, units);
  const winning = await win(testbed, ready, { definition, units });
  await testbed.removeSale(saleId);
  // Redis told the front end of everybody meanwhile.
  const redisRefusalMicros = (redisMicros - units * holderMicros) / byRedis;
  return { ...winning, ...refusing, knownMs, redisRefusalMicros, holderMicros };
}

/** From the first "sold out" that Redis says to the first one that the front end does, both seen at `/metrics`. */
async function learn(testbed: Testbed, { process, strangers }: Ready, saleId: string) {
  const before = await refusalsOf(process);
  const effort = await measureRedis(testbed.servers.shards.of(saleId).client);
  const isKnown = new AbortController();
  const pressing = press({
    port: process.port,
    template: buyTemplate(saleId),
    file: strangers.file,
    seconds: LEARNING_SECONDS_MAX,
    connections: CONNECTIONS,
    repeats: true,
    cores: testbed.loadCores,
    stopping: AbortSignal.any([testbed.stopping, isKnown.signal]),
  }).then(
    () => new Error(`who has something was not known after ${LEARNING_SECONDS_MAX} s`),
    (error: Error) => error,
  );
  try {
    for (let firstAt: number | undefined; ; ) {
      const told = await refusalsOf(process);
      const nowAt = performance.now();
      if (told.all > before.all) firstAt ??= nowAt;
      if (firstAt !== undefined && told.here > before.here) {
        const { cpuSeconds } = await effort();
        const byRedis = told.all - before.all - (told.here - before.here);
        return { knownMs: nowAt - firstAt, byRedis, redisMicros: cpuSeconds * 1e6 };
      }
      const ended = await Promise.race([pressing, sleep(LOOK_MS)]);
      if (ended) throw ended;
    }
  } finally {
    isKnown.abort();
    await pressing;
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
  expect(refused === requests, 'somebody was told yes');
  expect(
    here >= requests * REFUSED_HERE_SHARE_MIN,
    `of ${requests} buyers Redis had to refuse ${requests - here}`,
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
  // Until then the front end takes the sale for sold out.
  await eventually(async () => {
    const shown = (await (await fetch(`${process.url}/v1/sales/${saleId}`)).json()) as {
      skus: { soldOut: boolean }[];
    };
    if (shown.skus[0]!.soldOut) throw new Error('the new stock is not seen');
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
  await expectSold(testbed, [saleId], { requests, underWay: CONNECTIONS, before: units });
  return figures;
}

/** CPU of Redis for each buyer in the list of those who have something, µs. */
async function readEverybody(
  { servers: { shards } }: Testbed,
  saleId: string,
  units: number,
): Promise<number> {
  const effort = await measureRedis(shards.of(saleId).client);
  for (let skip = 0; skip < units; skip += PART) {
    const reply = await shards.call(readOrder, saleId, skip, PART);
    expect(
      reply.outcome === 'known' && reply.buyerIds.length === PART,
      `after ${skip} buyers: ${reply.outcome}`,
    );
  }
  return ((await effort()).cpuSeconds / units) * 1e6;
}
