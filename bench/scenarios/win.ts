/**
 * Every request wins, as far as Redis: what a sale costs whose stock does not end. No persister runs, so what is
 * measured is the front end and Redis alone; the stream grows as it does while PostgreSQL is away.
 *
 * Warm: each buyer has looked at the sale before, so the engine knows the token. A buyer takes one unit, and comes again
 * with another key only when all have had one. Cold: nobody has been seen before, so each request costs a signature.
 */
import { join } from 'node:path';
import { saleKey } from '../../src/lua/keys.ts';
import {
  answerTo,
  CEILING,
  ENGINE,
  ONE_CALL,
  startCeiling,
  startEngine,
  startOneCall,
} from '../contestants.ts';
import { type Buyers, tokenOf, writeBuyers } from '../load/buyers.ts';
import { buyTemplate, lookTemplate, type Pressed, percentile, press } from '../load/wrk.ts';
import { watchRedis } from '../redis-cpu.ts';
import { type Comparison, takeTurns } from '../rounds.ts';
import { demand, demandSameSize } from '../sanity.ts';
import type { BenchOptions, Measured, Scenario } from '../scenario.ts';
import { type Durability, openStage, type Stage, type Started } from '../testbed.ts';

export const CONNECTIONS = 256;
/** The engine remembers 100,000 tokens. */
export const WARM_BUYERS = 90_000;
export const LIMIT = 100;
export const STOCK = 10_000_000;
/** More than is served of requests that have to be different. */
export const WINS_PER_SECOND_MAX = 130_000;
const COLD_PER_SECOND_MAX = 90_000;

interface Choices {
  durability: Durability;
  buyers: 'warm' | 'cold';
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
  title: 'Every request wins, nobody seen before',
  run: (options) => measure(options, { durability: 'safe', buyers: 'cold' }),
};

async function measure(options: BenchOptions, choices: Choices): Promise<Measured> {
  const isWarm = choices.buyers === 'warm';
  const stage = await openStage({
    durability: choices.durability,
    apart: true,
    stopping: options.stopping,
  });
  try {
    const engine = await startEngine(stage);
    const contestants: Record<string, Started> = { [ENGINE]: engine };
    contestants[CEILING] = await startCeiling(stage, await aWin(stage, engine));
    if (isWarm) {
      contestants[ONE_CALL] = await startOneCall(stage);
    }
    const warm = isWarm
      ? await writeBuyers(join(stage.directory, 'warm'), {
          name: 'warm',
          count: WARM_BUYERS,
          purchasesEach: Math.ceil((WINS_PER_SECOND_MAX * options.seconds) / WARM_BUYERS),
        })
      : undefined;
    if (warm) {
      for (const name of [ENGINE, ONE_CALL]) {
        options.tell(`everybody looks at the sale: ${name}`);
        await everybodyLooks(stage, contestants[name]!, warm);
      }
    }
    const curves: Record<string, [number, number][]> = {};
    const bytes: Record<string, number> = {};

    const rounds = await takeTurns(options, Object.keys(contestants), async (name, round) => {
      const server = contestants[name]!;
      const buyers =
        warm ??
        (await writeBuyers(join(stage.directory, 'cold'), {
          name: `cold-${round}`,
          count: COLD_PER_SECOND_MAX * options.seconds,
          purchasesEach: 1,
        }));
      const saleId = await stage.openSale({ stock: STOCK, perBuyerLimit: LIMIT });
      const { client } = stage.servers.shards.of(saleId);
      const effort = await watchRedis(client);
      const cpuBefore = server.cpuSeconds();
      const pressed = await press({
        port: server.port,
        template: buyTemplate(saleId),
        file: buyers.file,
        seconds: options.seconds,
        connections: CONNECTIONS,
        repeats: name === CEILING,
        cores: stage.loadCores,
        stopping: stage.stopping,
      });
      const cpuSeconds = server.cpuSeconds() - cpuBefore;
      const { cpuSeconds: redisSeconds, scriptSeconds, scriptCalls } = await effort();
      demand(pressed.refused === 0, `${name} refused ${pressed.refused} buyers`);
      if (name !== CEILING)
        demandThatManySold(name, pressed, await client.llen(saleKey(saleId, 'order')));
      await stage.removeSale(saleId);
      curves[name] = pressed.latencyMs;
      bytes[name] = pressed.bytesPerAnswer;
      const microsEach = (seconds: number) => (seconds / pressed.requests) * 1e6;
      return {
        perSecond: pressed.perSecond,
        p99Ms: percentile(pressed, 99),
        serverCpuShare: cpuSeconds / pressed.seconds,
        wrkCpuShare: pressed.wrkCpuSeconds / pressed.seconds,
        serverMicros: microsEach(cpuSeconds),
        redisMicros: microsEach(redisSeconds),
        redisScriptMicros: microsEach(scriptSeconds),
        winsPerCall: pressed.requests / Math.max(1, scriptCalls),
      };
    });
    demandSameSize(bytes[ENGINE]!, bytes[CEILING]!);
    return {
      settings: {
        connections: CONNECTIONS,
        buyers: choices.buyers,
        durability: stage.durability,
      },
      rounds,
      comparisons: isWarm ? warmComparisons(choices.durability) : coldComparisons(),
      curves,
    };
  } finally {
    await stage.close();
  }
}

function warmComparisons(durability: Durability): Comparison[] {
  const wins = { metric: 'perSecond', of: ENGINE };
  return [
    // The bars are those of the default profile.
    {
      what: 'wins a second, engine ÷ ceiling',
      ...wins,
      over: CEILING,
      ...(durability === 'safe' ? { atLeast: 0.65 } : {}),
    },
    {
      what: 'wins a second, engine ÷ one call per buyer',
      ...wins,
      over: ONE_CALL,
      ...(durability === 'safe' ? { atLeast: 1.7 } : {}),
    },
    {
      what: 'CPU of Redis a win, one call per buyer ÷ engine',
      metric: 'redisMicros',
      of: ONE_CALL,
      over: ENGINE,
      ...(durability === 'safe' ? { atLeast: 5 } : {}),
    },
    {
      what: 'CPU of Redis a win',
      metric: 'redisMicros',
      of: ENGINE,
      unit: 'µs',
    },
    cpuOfFrontEnd(),
  ];
}

function coldComparisons(): Comparison[] {
  return [
    { what: 'wins a second, engine ÷ ceiling', metric: 'perSecond', of: ENGINE, over: CEILING },
    cpuOfFrontEnd(),
  ];
}

function cpuOfFrontEnd(): Comparison {
  return {
    what: 'CPU of the front end a win, ceiling ÷ engine',
    metric: 'serverMicros',
    of: CEILING,
    over: ENGINE,
  };
}

/** What a winner is told, for the ceiling to repeat. */
async function aWin(stage: Stage, engine: Started) {
  const saleId = await stage.openSale({ stock: STOCK });
  // With a position as long as most will be.
  const { client } = stage.servers.shards.of(saleId);
  await client.hset(saleKey(saleId, 'sale'), 'position', 100_000);
  const answer = await answerTo(engine, saleId, {
    token: tokenOf('warm-0000000'),
    key: 'a'.repeat(18),
  });
  demand(answer.code === 201, answer.body);
  await stage.removeSale(saleId);
  return answer;
}

/** Nobody's token is new to the front end afterwards. */
export async function everybodyLooks(stage: Stage, server: Started, buyers: Buyers): Promise<void> {
  const saleId = await stage.openSale({ stock: STOCK });
  for (let seen = 0; seen < buyers.count; ) {
    const pressed = await press({
      port: server.port,
      template: lookTemplate(saleId),
      file: buyers.file,
      firstLine: seen + 1,
      seconds: 2,
      connections: CONNECTIONS,
      repeats: true,
      cores: stage.loadCores,
      stopping: stage.stopping,
    });
    demand(pressed.refused === 0, `${pressed.refused} buyers were refused a look`);
    // What was on its way when the time was over may not have arrived.
    seen += pressed.requests;
  }
  await stage.removeSale(saleId);
}

/** Whoever was told yes has a reservation of his own; who was not told in time may have one as well. */
function demandThatManySold(name: string, { requests }: Pressed, sold: number): void {
  demand(
    sold >= requests && sold <= requests + CONNECTIONS,
    `${name} told ${requests} buyers yes and ${sold} reservations exist`,
  );
}
