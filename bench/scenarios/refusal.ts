/**
 * After the sell-out everybody is refused: that is nearly all that a flash sale does. Nobody here has bought anything,
 * and the sale is one of a single unit that is gone.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { buy } from '../../harness/sales/purchases.ts';
import { tokenOf, writeBuyers } from '../load/buyers.ts';
import { buyTemplate, type Pressed, percentile, press } from '../load/wrk.ts';
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

export const BUYERS = 50_000;
const CONNECTIONS = 256;
export const MANY_CONNECTIONS = 10_000;
/** Files of a process beside its connections. */
export const OTHER_FILES = 200;
/** Ten thousand connections take a moment to be opened. */
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

async function measure(
  options: BenchOptions,
  connections: number,
  others: readonly (typeof ONE_CALL | typeof CONVENTIONAL)[],
  comparisons: Comparison[],
): Promise<Measured> {
  const testbed = await openTestbed({ apart: true, stopping: options.stopping });
  try {
    const { file } = await writeBuyers(join(testbed.directory, 'buyers'), {
      name: 'late',
      count: BUYERS,
      purchasesEach: 1,
    });
    const saleId = await soldOutSale(testbed);
    const engine = await startEngine(testbed);
    const stranger = { token: tokenOf('stranger'), key: 'key-of-the-stranger' };
    const answer = await responseOf(engine, saleId, stranger);
    expect(answer.code === 409 && answer.body.includes('"sold_out"'), answer.body);
    const contestants: Record<string, Started> = {
      [ENGINE]: engine,
      [CEILING]: await startCeiling(testbed, answer),
    };
    for (const name of others) {
      contestants[name] =
        name === CONVENTIONAL
          ? await startConventional(testbed, 'redis')
          : await startOneCall(testbed);
    }
    const template = buyTemplate(saleId);
    const curves: Record<string, [number, number][]> = {};
    const bytes: Record<string, number> = {};

    const rounds = await runRounds(options, Object.keys(contestants), async (name) => {
      const server = contestants[name]!;
      const { body } = await responseOf(server, saleId, stranger);
      expect(body === answer.body, `${name} refuses by ${body}`);
      const isEngine = name === ENGINE || name === ONE_CALL;
      const toldBefore = isEngine ? await countOutcomes(server) : undefined;
      const cpuBefore = server.cpuSeconds();
      const pressed = await press({
        port: server.port,
        template,
        file,
        seconds: options.seconds,
        connections,
        repeats: true,
        cores: testbed.loadCores,
        stopping: testbed.stopping,
      });
      const cpuSeconds = server.cpuSeconds() - cpuBefore;
      expect(pressed.refused === pressed.requests, `${name} said yes to somebody`);
      if (toldBefore) expectOnlySoldOut(name, toldBefore, await countOutcomes(server), pressed);
      curves[name] = pressed.latencyMs;
      bytes[name] = pressed.bytesPerResponse;
      return {
        perSecond: pressed.perSecond,
        p50Ms: percentile(pressed, 50),
        p99Ms: percentile(pressed, 99),
        serverCpuShare: cpuSeconds / pressed.seconds,
        wrkCpuShare: pressed.wrkCpuSeconds / pressed.seconds,
        serverMicros: (cpuSeconds / pressed.requests) * 1e6,
      };
    });
    expectSameSize(bytes[ENGINE]!, bytes[CEILING]!);
    const settings = { connections, buyers: BUYERS, durability: testbed.durability };
    return { settings, rounds, comparisons, curves };
  } finally {
    await testbed.close();
  }
}

/** Its only unit is somebody's. */
export async function soldOutSale(testbed: Testbed): Promise<string> {
  const saleId = await testbed.openSale({ stock: 1 });
  await buy(testbed.servers.shards, saleId, ['the-first']);
  return saleId;
}

/** By the engine's own count: wrk can't tell one refusal from another. */
export function expectOnlySoldOut(
  name: string,
  before: Map<string, number>,
  after: Map<string, number>,
  pressed: Pick<Pressed, 'requests'>,
): void {
  const told: Record<string, number> = {};
  for (const [outcome, count] of after) {
    const more = count - (before.get(outcome) ?? 0);
    if (more > 0) told[outcome] = more;
  }
  const { sold_out: soldOut = 0, ...others } = told;
  const isSo = soldOut >= pressed.requests && Object.keys(others).length === 0;
  expect(isSo, `${name} told ${JSON.stringify(told)} of ${pressed.requests}`);
}

function expectOpenFiles(least: number): void {
  const limit = openFilesMax();
  if (limit < least) {
    throw new Error(`Only ${limit} files may be open at once. Type:\n  ulimit -Hn ${least}`);
  }
}

/** Node raises its own limit as far as it may, and its children have the same. */
export function openFilesMax(): number {
  const limit = execFileSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).trim();
  return limit === 'unlimited' ? Number.POSITIVE_INFINITY : Number(limit);
}
