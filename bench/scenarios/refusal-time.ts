/**
 * How long the engine itself takes to refuse somebody after the sell-out: from being called with the request until it
 * says the last of its answer, by a watch between it and uWebSockets.js, while wrk presses as fast as it can. The CPU
 * time of the whole process, with the kernel's share of reading and writing, is beside it.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually } from '../../harness/eventually.ts';
import { MAIN_MODULE } from '../../src/process/supervised-process.ts';
import { ENGINE, engineProgram, outcomesOf } from '../contestants.ts';
import { writeBuyers } from '../load/buyers.ts';
import type { Times } from '../load/timed-server.ts';
import { buyTemplate, press } from '../load/wrk.ts';
import { takeTurns } from '../rounds.ts';
import { demand } from '../sanity.ts';
import type { Scenario } from '../scenario.ts';
import { openStage } from '../testbed.ts';
import { demandOnlySoldOut, soldOutSale } from './refusal.ts';

const CONNECTIONS = 64;
const BUYERS = 50_000;
const WATCH = join(import.meta.dirname, '../load/time-answers.ts');

export const refusalTime: Scenario = {
  name: 'refusal-time',
  title: 'Time in the process of a refusal',
  async run(options) {
    const stage = await openStage({ apart: true, stopping: options.stopping });
    try {
      const { file } = await writeBuyers(join(stage.directory, 'buyers'), {
        name: 'late',
        count: BUYERS,
        purchasesEach: 1,
      });
      const timesFile = join(stage.directory, 'times.json');
      const saleId = await soldOutSale(stage);
      const program = engineProgram(stage, { TIMES_FILE: timesFile });
      const engine = await stage.start(ENGINE, {
        ...program,
        args: ['--import', WATCH, MAIN_MODULE, 'hot-path'],
      });
      const timesOf = async (): Promise<Times> => {
        await rm(timesFile, { force: true });
        engine.signal('SIGUSR2');
        return eventually(async () => JSON.parse(await readFile(timesFile, 'utf8')) as Times);
      };
      const rounds = await takeTurns(options, [ENGINE], async () => {
        await timesOf();
        const toldBefore = await outcomesOf(engine);
        const cpuBefore = engine.cpuSeconds();
        const pressed = await press({
          port: engine.port,
          template: buyTemplate(saleId),
          file,
          seconds: options.seconds,
          connections: CONNECTIONS,
          repeats: true,
          cores: stage.loadCores,
          stopping: stage.stopping,
        });
        const cpuSeconds = engine.cpuSeconds() - cpuBefore;
        demandOnlySoldOut(ENGINE, toldBefore, await outcomesOf(engine), pressed);
        const { count, percentiles } = await timesOf();
        demand(count >= pressed.requests, `${count} of ${pressed.requests} answers were timed`);
        const at = (percent: number) => percentiles.find(([each]) => each === percent)![1];
        return {
          perSecond: pressed.perSecond,
          p50Micros: at(50),
          p99Micros: at(99),
          serverMicros: (cpuSeconds / pressed.requests) * 1e6,
        };
      });
      const inProcess = { of: ENGINE, unit: 'µs' };
      return {
        settings: { connections: CONNECTIONS, durability: stage.durability },
        rounds,
        comparisons: [
          { what: 'called to answered, p50', metric: 'p50Micros', ...inProcess, atMost: 20 },
          { what: 'called to answered, p99', metric: 'p99Micros', ...inProcess },
          { what: 'CPU, kernel and all', metric: 'serverMicros', ...inProcess },
        ],
      };
    } finally {
      await stage.close();
    }
  },
};
