/**
 * How long the engine takes to refuse a buyer after the sale is sold out, at full load. A stopwatch between it and
 * uWebSockets.js measures from the call of its handler to the end of the response. Also the CPU time of the whole
 * process, with the kernel's share for reading and writing.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { eventually } from '../../harness/eventually.ts';
import { MAIN_MODULE } from '../../src/process/supervisor/supervised-process.ts';
import { writeBuyers } from '../load/buyers.ts';
import type { Times } from '../load/timed-server.ts';
import { buyTemplate, runWrk } from '../load/wrk.ts';
import { countOutcomes, ENGINE, engineProgram } from '../measure/contestants.ts';
import { runRounds } from '../measure/rounds.ts';
import { expect, type Scenario } from '../measure/scenario.ts';
import { openTestbed } from '../measure/testbed.ts';
import { expectOnlySoldOut, soldOutSale } from './refusal.ts';
import { warmTokens } from './win.ts';

const CONNECTIONS = 64;
const BUYERS = 50_000;
const WATCH = join(import.meta.dirname, '../load/timed-server.ts');

export const refusalTime: Scenario = {
  name: 'refusal-time',
  title: 'Time to refuse, inside the process',
  async run(options) {
    const testbed = await openTestbed({ apart: true, stopping: options.stopping });
    try {
      const buyers = await writeBuyers(join(testbed.directory, 'buyers'), {
        name: 'late',
        count: BUYERS,
        purchasesEach: 1,
      });
      const { file } = buyers;
      const timesFile = join(testbed.directory, 'times.json');
      const saleId = await soldOutSale(testbed);
      const program = engineProgram(testbed, { TIMES_FILE: timesFile });
      const engine = await testbed.start(ENGINE, {
        ...program,
        args: ['--import', WATCH, MAIN_MODULE, 'hot-path'],
      });
      await warmTokens(testbed, engine, buyers);
      const timesOf = async (): Promise<Times> => {
        await rm(timesFile, { force: true });
        engine.signal('SIGUSR2');
        return eventually(async () => JSON.parse(await readFile(timesFile, 'utf8')) as Times);
      };
      const rounds = await runRounds(options, [ENGINE], async () => {
        await timesOf();
        const outcomesBefore = await countOutcomes(engine);
        const cpuBefore = engine.cpuSeconds();
        const wrk = await runWrk({
          port: engine.port,
          template: buyTemplate(saleId),
          file,
          seconds: options.seconds,
          connections: CONNECTIONS,
          repeats: true,
          cores: testbed.loadCores,
          stopping: testbed.stopping,
        });
        const cpuSeconds = engine.cpuSeconds() - cpuBefore;
        expectOnlySoldOut(ENGINE, outcomesBefore, await countOutcomes(engine), wrk);
        const { count, percentiles } = await timesOf();
        expect(count >= wrk.requests, `${count} of ${wrk.requests} responses were timed`);
        const at = (percent: number) => percentiles.find(([each]) => each === percent)![1];
        return {
          perSecond: wrk.perSecond,
          p50Micros: at(50),
          p99Micros: at(99),
          serverMicros: (cpuSeconds / wrk.requests) * 1e6,
        };
      });
      const inProcess = { of: ENGINE, unit: 'µs' };
      return {
        settings: { connections: CONNECTIONS, durability: testbed.durability },
        rounds,
        comparisons: [
          { what: 'handler call to response, p50', metric: 'p50Micros', ...inProcess, atMost: 20 },
          { what: 'handler call to response, p99', metric: 'p99Micros', ...inProcess },
          { what: 'CPU including the kernel', metric: 'serverMicros', ...inProcess },
        ],
      };
    } finally {
      await testbed.close();
    }
  },
};
