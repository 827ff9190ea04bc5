/**
 * Is wrk the limit? The ceiling, which answers faster than anything else here, is pressed as the other scenarios press
 * it, by fewer and by more connections, and by two threads. If more of wrk brought more answers, then wrk would have been
 * what was measured. The shares of a core say the same: the server's is whole and wrk's is not.
 */
import { join } from 'node:path';
import { problem } from '../../src/api/problems.ts';
import { writeBuyers } from '../load/buyers.ts';
import { buyTemplate, percentile, press } from '../load/wrk.ts';
import { startCeiling } from '../measure/contestants.ts';
import { runRounds } from '../measure/rounds.ts';
import { expect, type Scenario } from '../measure/scenario.ts';
import { openTestbed } from '../measure/testbed.ts';

/** Few, so that threads read them in no time. */
const REQUESTS = 1_000;
const AS_ELSEWHERE = '256 connections';
const LOADS: Record<string, { connections: number; threads: number }> = {
  '64 connections': { connections: 64, threads: 1 },
  [AS_ELSEWHERE]: { connections: 256, threads: 1 },
  '1,024 connections': { connections: 1_024, threads: 1 },
  '256 connections, two threads': { connections: 256, threads: 2 },
};

export const reach: Scenario = {
  name: 'reach',
  title: 'Limit of the load generator, against the ceiling',
  async run(options) {
    const testbed = await openTestbed({ apart: true, stopping: options.stopping });
    try {
      const { file } = await writeBuyers(join(testbed.directory, 'buyers'), {
        name: 'any',
        count: REQUESTS,
        purchasesEach: 1,
      });
      const ceiling = await startCeiling(testbed, {
        status: '409 Conflict',
        headers: [['Content-Type', 'application/problem+json']],
        body: JSON.stringify(problem('sold_out')),
      });
      const rounds = await runRounds(options, Object.keys(LOADS), async (name) => {
        const cpuBefore = ceiling.cpuSeconds();
        const pressed = await press({
          ...LOADS[name]!,
          port: ceiling.port,
          template: buyTemplate('any'),
          file,
          seconds: options.seconds,
          repeats: true,
          cores: testbed.loadCores,
          stopping: testbed.stopping,
        });
        const cpuSeconds = ceiling.cpuSeconds() - cpuBefore;
        expect(pressed.refused === pressed.requests, 'the ceiling answers otherwise');
        return {
          perSecond: pressed.perSecond,
          p99Ms: percentile(pressed, 99),
          serverCpuShare: cpuSeconds / pressed.seconds,
          wrkCpuShare: pressed.wrkCpuSeconds / pressed.seconds,
          serverMicros: (cpuSeconds / pressed.requests) * 1e6,
        };
      });
      return {
        settings: { cores: 'server apart' },
        rounds,
        comparisons: Object.keys(LOADS)
          .filter((name) => name !== AS_ELSEWHERE)
          .map((name) => ({
            what: `responses per second, ${name} ÷ ${AS_ELSEWHERE}`,
            metric: 'perSecond',
            of: name,
            over: AS_ELSEWHERE,
          })),
      };
    } finally {
      await testbed.close();
    }
  },
};
