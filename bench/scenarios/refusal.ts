/**
 * After the sell-out everybody is refused: that is nearly all that a flash sale does. Nobody here has bought anything,
 * and the sale is one of a single unit that is gone.
 */
import { join } from 'node:path';
import { buy } from '../../test/support/sales.ts';
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
import { demand, demandSameSize } from '../right.ts';
import { takeTurns } from '../rounds.ts';
import type { Scenario } from '../scenario.ts';
import { openStage, type Started } from '../stage.ts';

const CONNECTIONS = 256;
const BUYERS = 50_000;

export const refusal: Scenario = {
  name: 'refusal',
  title: 'Refusals after the sell-out',
  async run(options) {
    const stage = await openStage({ apart: true, stopping: options.stopping });
    try {
      const { file } = await writeBuyers(join(stage.directory, 'buyers'), {
        name: 'late',
        count: BUYERS,
        purchasesEach: 1,
      });
      const saleId = await stage.openSale({ stock: 1 });
      await buy(stage.servers.shards, saleId, ['the-first']);
      const engine = await startEngine(stage);
      const stranger = { token: tokenOf('stranger'), key: 'key-of-the-stranger' };
      const answer = await answerTo(engine, saleId, stranger);
      demand(answer.code === 409 && answer.body.includes('"sold_out"'), answer.body);
      const contestants: Record<string, Started> = {
        [ENGINE]: engine,
        [CEILING]: await startCeiling(stage, answer),
        [ONE_CALL]: await startOneCall(stage),
        [USUAL]: await startUsual(stage, 'redis'),
      };
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
          connections: CONNECTIONS,
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
          p99Ms: percentile(pressed, 99),
          serverCpuShare: cpuSeconds / pressed.seconds,
          wrkCpuShare: pressed.wrkCpuSeconds / pressed.seconds,
          serverMicros: (cpuSeconds / pressed.requests) * 1e6,
        };
      });
      demandSameSize(bytes[ENGINE]!, bytes[CEILING]!);
      return {
        settings: { connections: CONNECTIONS, buyers: BUYERS, durability: stage.durability },
        rounds,
        comparisons: [
          ratio('refusals a second, engine ÷ ceiling', ENGINE, CEILING, 0.9),
          ratio('refusals a second, engine ÷ usual', ENGINE, USUAL, 5),
          ratio('refusals a second, engine ÷ one call per buyer', ENGINE, ONE_CALL),
        ],
        curves,
      };
    } finally {
      await stage.close();
    }
  },
};

/** By the engine's own count, too: wrk can't tell one refusal from another. */
function demandOnlySoldOut(
  name: string,
  before: Map<string, number>,
  after: Map<string, number>,
  pressed: Pressed,
): void {
  for (const [outcome, count] of after) {
    const told = count - (before.get(outcome) ?? 0);
    if (outcome === 'sold_out') demand(told >= pressed.requests, `${name} sold out ${told} times`);
    else demand(told === 0, `${name} told ${told} buyers ${outcome}`);
  }
}

function ratio(what: string, of: string, over: string, atLeast?: number) {
  return { what, metric: 'perSecond', of, over, ...(atLeast === undefined ? {} : { atLeast }) };
}
