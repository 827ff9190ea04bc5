/**
 * After the sell-out everybody is refused: that is nearly all that a flash sale does. Nobody here has bought anything,
 * and the sale is one of a single unit that is gone.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { buy } from '../../harness/engine/sales.ts';
import {
  answerTo,
  CEILING,
  ENGINE,
  ONE_CALL,
  outcomesOf,
  startCeiling,
  startEngine,
  startOneCall,
  startUsual,
  USUAL,
} from '../contestants.ts';
import { tokenOf, writeBuyers } from '../load/buyers.ts';
import { buyTemplate, type Pressed, percentile, press } from '../load/wrk.ts';
import { type Comparison, takeTurns } from '../rounds.ts';
import { demand, demandSameSize } from '../sanity.ts';
import type { BenchOptions, Measured, Scenario } from '../scenario.ts';
import { openStage, type Stage, type Started } from '../testbed.ts';

export const BUYERS = 50_000;
const CONNECTIONS = 256;
export const MANY_CONNECTIONS = 10_000;
/** Files of a process beside its connections. */
export const OTHER_FILES = 200;
/** Ten thousand connections take a moment to be opened. */
export const MANY_SECONDS_MIN = 5;

export const refusal: Scenario = {
  name: 'refusal',
  title: 'Refusals after the sell-out',
  run: (options) =>
    measure(
      options,
      CONNECTIONS,
      [ONE_CALL, USUAL],
      [
        {
          what: 'refusals a second, engine ÷ ceiling',
          metric: 'perSecond',
          of: ENGINE,
          over: CEILING,
          atLeast: 0.9,
        },
        {
          what: 'refusals a second, engine ÷ usual',
          metric: 'perSecond',
          of: ENGINE,
          over: USUAL,
          atLeast: 5,
        },
        {
          what: 'refusals a second, engine ÷ one call per buyer',
          metric: 'perSecond',
          of: ENGINE,
          over: ONE_CALL,
        },
        {
          what: 'CPU of the front end a refusal, ceiling ÷ engine',
          metric: 'serverMicros',
          of: CEILING,
          over: ENGINE,
        },
      ],
    ),
};

export const crowd: Scenario = {
  name: 'crowd',
  title: 'Refusals with 10,000 connections open',
  async run(options) {
    demandOpenFiles(MANY_CONNECTIONS + OTHER_FILES);
    const seconds = Math.max(options.seconds, MANY_SECONDS_MIN);
    return measure(
      { ...options, seconds },
      MANY_CONNECTIONS,
      [],
      [
        {
          what: 'p99 of a refusal, engine ÷ ceiling',
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
  others: readonly (typeof ONE_CALL | typeof USUAL)[],
  comparisons: Comparison[],
): Promise<Measured> {
  const stage = await openStage({ apart: true, stopping: options.stopping });
  try {
    const { file } = await writeBuyers(join(stage.directory, 'buyers'), {
      name: 'late',
      count: BUYERS,
      purchasesEach: 1,
    });
    const saleId = await soldOutSale(stage);
    const engine = await startEngine(stage);
    const stranger = { token: tokenOf('stranger'), key: 'key-of-the-stranger' };
    const answer = await answerTo(engine, saleId, stranger);
    demand(answer.code === 409 && answer.body.includes('"sold_out"'), answer.body);
    const contestants: Record<string, Started> = {
      [ENGINE]: engine,
      [CEILING]: await startCeiling(stage, answer),
    };
    for (const name of others) {
      contestants[name] =
        name === USUAL ? await startUsual(stage, 'redis') : await startOneCall(stage);
    }
    const template = buyTemplate(saleId);
    const curves: Record<string, [number, number][]> = {};
    const bytes: Record<string, number> = {};

    const rounds = await takeTurns(options, Object.keys(contestants), async (name) => {
      const server = contestants[name]!;
      const { body } = await answerTo(server, saleId, stranger);
      demand(body === answer.body, `${name} refuses by ${body}`);
      const isEngine = name === ENGINE || name === ONE_CALL;
      const toldBefore = isEngine ? await outcomesOf(server) : undefined;
      const cpuBefore = server.cpuSeconds();
      const pressed = await press({
        port: server.port,
        template,
        file,
        seconds: options.seconds,
        connections,
        repeats: true,
        cores: stage.loadCores,
        stopping: stage.stopping,
      });
      const cpuSeconds = server.cpuSeconds() - cpuBefore;
      demand(pressed.refused === pressed.requests, `${name} said yes to somebody`);
      if (toldBefore) demandOnlySoldOut(name, toldBefore, await outcomesOf(server), pressed);
      curves[name] = pressed.latencyMs;
      bytes[name] = pressed.bytesPerAnswer;
      return {
        perSecond: pressed.perSecond,
        p50Ms: percentile(pressed, 50),
        p99Ms: percentile(pressed, 99),
        serverCpuShare: cpuSeconds / pressed.seconds,
        wrkCpuShare: pressed.wrkCpuSeconds / pressed.seconds,
        serverMicros: (cpuSeconds / pressed.requests) * 1e6,
      };
    });
    demandSameSize(bytes[ENGINE]!, bytes[CEILING]!);
    const settings = { connections, buyers: BUYERS, durability: stage.durability };
    return { settings, rounds, comparisons, curves };
  } finally {
    await stage.close();
  }
}

/** Its only unit is somebody's. */
export async function soldOutSale(stage: Stage): Promise<string> {
  const saleId = await stage.openSale({ stock: 1 });
  await buy(stage.servers.shards, saleId, ['the-first']);
  return saleId;
}

/** By the engine's own count: wrk can't tell one refusal from another. */
export function demandOnlySoldOut(
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
  demand(isSo, `${name} told ${JSON.stringify(told)} of ${pressed.requests}`);
}

function demandOpenFiles(least: number): void {
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
