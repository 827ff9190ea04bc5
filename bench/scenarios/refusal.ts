/**
 * Refusals after the sale is sold out, which are most requests of a flash sale. No buyer here has a reservation, and
 * the only unit of the sale is sold.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { buy } from '../../harness/sales/purchases.ts';
import { type Buyers, tokenOf, writeBuyers } from '../load/buyers.ts';
import { buyTemplate, percentile, runWrk, type WrkResult } from '../load/wrk.ts';
import {
  CEILING,
  CONVENTIONAL,
  countOutcomes,
  ENGINE,
  ONE_CALL,
  responseOf,
  startCeiling,
  startConventional,
  startEngine,
  startOneCall,
} from '../measure/contestants.ts';
import { type Comparison, runRounds } from '../measure/rounds.ts';
import {
  type BenchOptions,
  expect,
  expectSameSize,
  type Measured,
  type Scenario,
} from '../measure/scenario.ts';
import { openTestbed, type Started, type Testbed } from '../measure/testbed.ts';
import { COLD_PER_SECOND_MAX, warmTokens } from './win.ts';

export const BUYERS = 50_000;
const CONNECTIONS = 256;
export const MANY_CONNECTIONS = 10_000;
/** Open files of a process besides its connections. */
export const OTHER_FILES = 200;
/** Opening 10,000 connections takes time. */
export const MANY_SECONDS_MIN = 5;

export const refusal: Scenario = {
  name: 'refusal',
  title: 'Refusals after the sale is sold out',
  run: (options) =>
    measure(
      options,
      CONNECTIONS,
      [ONE_CALL, CONVENTIONAL],
      [
        {
          what: 'refusals per second, engine ÷ ceiling',
          metric: 'perSecond',
          of: ENGINE,
          over: CEILING,
          atLeast: 0.9,
        },
        {
          what: 'refusals per second, engine ÷ conventional',
          metric: 'perSecond',
          of: ENGINE,
          over: CONVENTIONAL,
          atLeast: 5,
        },
        {
          what: 'refusals per second, engine ÷ one call per buyer',
          metric: 'perSecond',
          of: ENGINE,
          over: ONE_CALL,
        },
        {
          what: 'hot path CPU per refusal, ceiling ÷ engine',
          metric: 'serverMicros',
          of: CEILING,
          over: ENGINE,
        },
      ],
    ),
};

export const crowd: Scenario = {
  name: 'crowd',
  title: 'Refusals over 10,000 connections',
  async run(options) {
    expectOpenFiles(MANY_CONNECTIONS + OTHER_FILES);
    const seconds = Math.max(options.seconds, MANY_SECONDS_MIN);
    return measure(
      { ...options, seconds },
      MANY_CONNECTIONS,
      [],
      [
        {
          what: 'p99 latency of a refusal, engine ÷ ceiling',
          metric: 'p99Ms',
          of: ENGINE,
          over: CEILING,
          atMost: 1.5,
        },
      ],
    );
  },
};

/** The normal case of a rush: nobody has been seen before. */
export const refusalCold: Scenario = {
  name: 'refusal-cold',
  title: 'Refusals after the sale is sold out, every token new',
  run: (options) =>
    measure(
      options,
      CONNECTIONS,
      [],
      [
        {
          what: 'hot path CPU per refusal, engine ÷ ceiling',
          metric: 'serverMicros',
          of: ENGINE,
          over: CEILING,
        },
        {
          what: 'refusals per second, engine ÷ ceiling',
          metric: 'perSecond',
          of: ENGINE,
          over: CEILING,
        },
      ],
      'cold',
    ),
};

async function measure(
  options: BenchOptions,
  connections: number,
  others: readonly (typeof ONE_CALL | typeof CONVENTIONAL)[],
  comparisons: Comparison[],
  tokens: 'warm' | 'cold' = 'warm',
): Promise<Measured> {
  const testbed = await openTestbed({ apart: true, stopping: options.stopping });
  try {
    const buyers = await writeBuyers(join(testbed.directory, 'buyers'), {
      name: 'late',
      count: BUYERS,
      purchasesEach: 1,
    });
    const saleId = await soldOutSale(testbed);
    const engine = await startEngine(testbed);
    const stranger = { token: tokenOf('stranger'), key: 'key-of-the-stranger' };
    const response = await responseOf(engine, saleId, stranger);
    expect(response.code === 409 && response.body.includes('"sold_out"'), response.body);
    const contestants: Record<string, Started> = {
      [ENGINE]: engine,
      [CEILING]: await startCeiling(testbed, response),
    };
    for (const name of others) {
      contestants[name] =
        name === CONVENTIONAL
          ? await startConventional(testbed, 'redis')
          : await startOneCall(testbed);
    }
    // The conventional stack knows a token from its first sight on.
    for (const name of tokens === 'warm' ? [ENGINE, ONE_CALL] : []) {
      const server = contestants[name];
      if (server) await warmTokens(testbed, server, buyers);
    }
    const template = buyTemplate(saleId);
    const curves: Record<string, [number, number][]> = {};
    const bytes: Record<string, number> = {};

    const rounds = await runRounds(options, Object.keys(contestants), async (name, round) => {
      const server = contestants[name]!;
      const { file } = tokens === 'warm' ? buyers : await newBuyers(testbed, options, round);
      const { body } = await responseOf(server, saleId, stranger);
      expect(body === response.body, `${name} refuses with ${body}`);
      const isEngine = name === ENGINE || name === ONE_CALL;
      const outcomesBefore = isEngine ? await countOutcomes(server) : undefined;
      const cpuBefore = server.cpuSeconds();
      const wrk = await runWrk({
        port: server.port,
        template,
        file,
        seconds: options.seconds,
        connections,
        repeats: tokens === 'warm' || name === CEILING,
        cores: testbed.loadCores,
        stopping: testbed.stopping,
      });
      const cpuSeconds = server.cpuSeconds() - cpuBefore;
      expect(wrk.refused === wrk.requests, `${name} did not refuse every request`);
      if (outcomesBefore) expectOnlySoldOut(name, outcomesBefore, await countOutcomes(server), wrk);
      curves[name] = wrk.latencyMs;
      bytes[name] = wrk.bytesPerResponse;
      return {
        perSecond: wrk.perSecond,
        p50Ms: percentile(wrk, 50),
        p99Ms: percentile(wrk, 99),
        serverCpuShare: cpuSeconds / wrk.seconds,
        wrkCpuShare: wrk.wrkCpuSeconds / wrk.seconds,
        serverMicros: (cpuSeconds / wrk.requests) * 1e6,
      };
    });
    expectSameSize(bytes[ENGINE]!, bytes[CEILING]!);
    const settings = { connections, tokens, buyers: BUYERS, durability: testbed.durability };
    return { settings, rounds, comparisons, curves };
  } finally {
    await testbed.close();
  }
}

function newBuyers(testbed: Testbed, { seconds }: BenchOptions, round: number): Promise<Buyers> {
  const count = COLD_PER_SECOND_MAX * seconds;
  const path = join(testbed.directory, 'new');
  return writeBuyers(path, { name: `new-${round}`, count, purchasesEach: 1 });
}

/** Its only unit is sold. */
export async function soldOutSale(testbed: Testbed): Promise<string> {
  const saleId = await testbed.openSale({ stock: 1 });
  await buy(testbed.servers.shards, saleId, ['the-first']);
  return saleId;
}

/** By the engine's own count, because wrk cannot distinguish refusals. */
export function expectOnlySoldOut(
  name: string,
  before: Map<string, number>,
  after: Map<string, number>,
  wrk: Pick<WrkResult, 'requests'>,
): void {
  const outcomes: Record<string, number> = {};
  for (const [outcome, count] of after) {
    const more = count - (before.get(outcome) ?? 0);
    if (more > 0) outcomes[outcome] = more;
  }
  const { sold_out: soldOut = 0, ...others } = outcomes;
  const isSo = soldOut >= wrk.requests && Object.keys(others).length === 0;
  expect(isSo, `${name} returned ${JSON.stringify(outcomes)} to ${wrk.requests}`);
}

function expectOpenFiles(least: number): void {
  const limit = openFilesMax();
  if (limit < least) {
    throw new Error(`Only ${limit} files may be open at once. Type:\n  ulimit -Hn ${least}`);
  }
}

/** Node raises its soft limit to the hard one, and its children inherit it. */
export function openFilesMax(): number {
  const limit = execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).trim();
  return limit === 'unlimited' ? Number.POSITIVE_INFINITY : Number(limit);
}
