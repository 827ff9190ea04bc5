/**
 * Is wrk the limit? wrk sends to the ceiling, the fastest server here, over fewer and more connections and from two
 * threads. If more of wrk brought more responses, the benches would have measured wrk. The shares of a core show the
 * same: the server uses all of its core, wrk does not.
 */
import { join } from 'node:path';
import { problem } from '../../src/api/problems.ts';
import { writeBuyers } from '../load/buyers.ts';
import { buyTemplate, percentile, runWrk } from '../load/wrk.ts';
import { startCeiling } from '../measure/contestants.ts';
import { runRounds } from '../measure/rounds.ts';
import { expect, type Scenario } from '../measure/scenario.ts';
import { openTestbed } from '../measure/testbed.ts';

/** Few, so that threads read them quickly. */
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
        const wrk = await runWrk({
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
        expect(wrk.refused === wrk.requests, 'the ceiling did not refuse every request');
        return {
          perSecond: wrk.perSecond,
          p99Ms: percentile(wrk, 99),
          serverCpuShare: cpuSeconds / wrk.seconds,
          wrkCpuShare: wrk.wrkCpuSeconds / wrk.seconds,
          serverMicros: (cpuSeconds / wrk.requests) * 1e6,
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
