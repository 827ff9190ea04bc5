/**
 * Every request wins, as far as Redis: a sale with unlimited stock and no persister, so the result is the hot path
 * and Redis alone. The stream grows as it does while PostgreSQL is unavailable.
 *
 * Warm: every token is cached. Each buyer takes one unit, and comes again with another key after all others.
 * Cold: no token is cached, so each request costs a signature check.
 * Connect: cold, and each request has a connection of its own.
 */
import { join } from 'node:path';
import { formatGaps } from '../../src/domain/positions.ts';
import { saleKey } from '../../src/lua/keys.ts';
import { type Buyers, tokenOf, writeBuyers } from '../load/buyers.ts';
import { buyTemplate, percentile, runWrk, viewTemplate, type WrkResult } from '../load/wrk.ts';
import {
  CEILING,
  ENGINE,
  ONE_CALL,
  responseOf,
  startCeiling,
  startEngine,
  startOneCall,
} from '../measure/contestants.ts';
import { measureRedis } from '../measure/redis-cpu.ts';
import { type Comparison, runRounds } from '../measure/rounds.ts';
import {
  type BenchOptions,
  expect,
  expectSameSize,
  type Measured,
  type Scenario,
} from '../measure/scenario.ts';
import { type Durability, openTestbed, type Started, type Testbed } from '../measure/testbed.ts';

export const CONNECTIONS = 256;
/** The engine caches 100,000 tokens. */
export const WARM_BUYERS = 90_000;
export const LIMIT = 100;
export const STOCK = 10_000_000;
/** More than the engine serves, because each purchase must be a new one. */
export const WINS_PER_SECOND_MAX = 130_000;
export const COLD_PER_SECOND_MAX = 90_000;

interface Choices {
  durability: Durability;
  buyers: 'warm' | 'cold';
  /** Each buyer opens a connection, buys once and closes it. */
  connects?: boolean;
}

export const win: Scenario = {
  name: 'win',
  title: 'Every request wins',
  run: (options) => measure(options, { durability: 'safe', buyers: 'warm' }),
};

export const winFast: Scenario = {
  name: 'win-fast',
  title: 'Every request wins, profile `fast`',
  run: (options) => measure(options, { durability: 'fast', buyers: 'warm' }),
};

export const winCold: Scenario = {
  name: 'win-cold',
  title: 'Every request wins, every token new',
  run: (options) => measure(options, { durability: 'safe', buyers: 'cold' }),
};

export const connect: Scenario = {
  name: 'connect',
  title: 'Every request wins, every token and every connection new',
  run: (options) => measure(options, { durability: 'safe', buyers: 'cold', connects: true }),
};

async function measure(options: BenchOptions, choices: Choices): Promise<Measured> {
  const isWarm = choices.buyers === 'warm';
  const { connects = false } = choices;
  const testbed = await openTestbed({
    durability: choices.durability,
    apart: true,
    stopping: options.stopping,
  });
  try {
    const engine = await startEngine(testbed);
    const contestants: Record<string, Started> = { [ENGINE]: engine };
    contestants[CEILING] = await startCeiling(testbed, await winningResponse(testbed, engine));
    if (isWarm) {
      contestants[ONE_CALL] = await startOneCall(testbed);
    }
    const warm = isWarm
      ? await writeBuyers(join(testbed.directory, 'warm'), {
          name: 'warm',
          count: WARM_BUYERS,
          purchasesEach: Math.ceil((WINS_PER_SECOND_MAX * options.seconds) / WARM_BUYERS),
        })
      : undefined;
    if (warm) {
      for (const name of [ENGINE, ONE_CALL]) {
        options.report(`warming the token cache: ${name}`);
        await warmTokens(testbed, contestants[name]!, warm);
      }
    }
    const curves: Record<string, [number, number][]> = {};
    const bytes: Record<string, number> = {};

    const rounds = await runRounds(options, Object.keys(contestants), async (name, round) => {
      const server = contestants[name]!;
      const buyers =
        warm ??
        (await writeBuyers(join(testbed.directory, 'cold'), {
          name: `cold-${round}`,
          count: COLD_PER_SECOND_MAX * options.seconds,
          purchasesEach: 1,
        }));
      const saleId = await testbed.openSale({ stock: STOCK, perBuyerLimit: LIMIT });
      const { client } = testbed.servers.shards.of(saleId);
      const effort = await measureRedis(client);
      const cpuBefore = server.cpuSeconds();
      const wrk = await runWrk({
        port: server.port,
        template: buyTemplate(saleId, 'unit', connects ? ['Connection: close'] : []),
        closes: connects,
        file: buyers.file,
        seconds: options.seconds,
        connections: CONNECTIONS,
        repeats: name === CEILING,
        cores: testbed.loadCores,
        stopping: testbed.stopping,
      });
      const cpuSeconds = server.cpuSeconds() - cpuBefore;
      const { cpuSeconds: redisSeconds, scriptSeconds, scriptCalls } = await effort();
      expect(wrk.refused === 0, `${name} refused ${wrk.refused} buyers`);
      if (name !== CEILING)
        expectReservations(name, wrk, await client.llen(saleKey(saleId, 'order')));
      await testbed.removeSale(saleId);
      curves[name] = wrk.latencyMs;
      bytes[name] = wrk.bytesPerResponse;
      const microsEach = (seconds: number) => (seconds / wrk.requests) * 1e6;
      return {
        perSecond: wrk.perSecond,
        p99Ms: percentile(wrk, 99),
        serverCpuShare: cpuSeconds / wrk.seconds,
        wrkCpuShare: wrk.wrkCpuSeconds / wrk.seconds,
        serverMicros: microsEach(cpuSeconds),
        redisMicros: microsEach(redisSeconds),
        redisScriptMicros: microsEach(scriptSeconds),
        winsPerCall: wrk.requests / Math.max(1, scriptCalls),
      };
    });
    expectSameSize(bytes[ENGINE]!, bytes[CEILING]!);
    return {
      settings: {
        connections: CONNECTIONS,
        connectionOfEach: connects ? 'new' : 'kept',
        buyers: choices.buyers,
        durability: testbed.durability,
      },
      rounds,
      comparisons: comparisonsOf(choices),
      curves,
    };
  } finally {
    await testbed.close();
  }
}

function comparisonsOf({ durability, buyers, connects }: Choices): Comparison[] {
  if (connects) return connectComparisons();
  return buyers === 'warm' ? warmComparisons(durability) : coldComparisons();
}

function warmComparisons(durability: Durability): Comparison[] {
  const wins = { metric: 'perSecond', of: ENGINE };
  return [
    // The targets apply to the default profile.
    {
      what: 'wins per second, engine ÷ ceiling',
      ...wins,
      over: CEILING,
      ...(durability === 'safe' ? { atLeast: 0.65 } : {}),
    },
    {
      what: 'wins per second, engine ÷ one call per buyer',
      ...wins,
      over: ONE_CALL,
      ...(durability === 'safe' ? { atLeast: 1.7 } : {}),
    },
    {
      what: 'Redis CPU per win, one call per buyer ÷ engine',
      metric: 'redisMicros',
      of: ONE_CALL,
      over: ENGINE,
      ...(durability === 'safe' ? { atLeast: 5 } : {}),
    },
    {
      what: 'Redis CPU per win',
      metric: 'redisMicros',
      of: ENGINE,
      unit: 'µs',
    },
    hotPathCpu(),
  ];
}

function coldComparisons(): Comparison[] {
  return [
    { what: 'wins per second, engine ÷ ceiling', metric: 'perSecond', of: ENGINE, over: CEILING },
    hotPathCpu(),
  ];
}

function connectComparisons(): Comparison[] {
  return [
    {
      what: 'hot path CPU of a buyer who connects, buys once and closes, engine ÷ ceiling',
      metric: 'serverMicros',
      of: ENGINE,
      over: CEILING,
      atMost: 1.5,
    },
    { what: 'buyers per second, engine ÷ ceiling', metric: 'perSecond', of: ENGINE, over: CEILING },
  ];
}

function hotPathCpu(): Comparison {
  return {
    what: 'hot path CPU per win, ceiling ÷ engine',
    metric: 'serverMicros',
    of: CEILING,
    over: ENGINE,
  };
}

/** The response to a purchase, for the ceiling to repeat. */
async function winningResponse(testbed: Testbed, engine: Started) {
  const saleId = await testbed.openSale({ stock: STOCK });
  // With as many digits as most positions have. The gap says why the order has no entries for the first ones.
  const { client } = testbed.servers.shards.of(saleId);
  const gaps = formatGaps([{ after: 0, count: 100_000 }]);
  await client.hset(saleKey(saleId, 'sale'), { position: 100_000, gaps });
  const response = await responseOf(engine, saleId, {
    token: tokenOf('warm-0000000'),
    key: 'a'.repeat(18),
  });
  expect(response.code === 201, response.body);
  await testbed.removeSale(saleId);
  return response;
}

/** Afterwards the hot path has cached every token: it keeps those that it has seen twice. */
export async function warmTokens(testbed: Testbed, server: Started, buyers: Buyers): Promise<void> {
  const saleId = await testbed.openSale({ stock: STOCK });
  for (let seen = 0; seen < 2 * buyers.count; ) {
    const wrk = await runWrk({
      port: server.port,
      template: viewTemplate(saleId),
      file: buyers.file,
      firstLine: (seen % buyers.count) + 1,
      seconds: 2,
      connections: CONNECTIONS,
      repeats: true,
      cores: testbed.loadCores,
      stopping: testbed.stopping,
    });
    expect(wrk.refused === 0, `${wrk.refused} views were refused`);
    // Requests in flight at the end may not have arrived.
    seen += wrk.requests;
  }
  await testbed.removeSale(saleId);
}

/** Each 201 has one reservation. Requests in flight at the end may have one too. */
function expectReservations(name: string, { requests }: WrkResult, sold: number): void {
  expect(
    sold >= requests && sold <= requests + CONNECTIONS,
    `${name} returned ${requests} times 201 and ${sold} reservations exist`,
  );
}
