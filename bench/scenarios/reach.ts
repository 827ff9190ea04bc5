/**
 * Is wrk the limit? The ceiling, which answers faster than anything else here, is pressed as the other scenarios press
 * it, by fewer and by more connections, and by two threads. If more of wrk brought more answers, then wrk would have been
 * what was measured. The shares of a core say the same: the server's is whole and wrk's is not.
 */
import { join } from 'node:path';
import { problem } from '../../src/api/problems.ts';
import { startCeiling } from '../contestants.ts';
import { writeBuyers } from '../load/buyers.ts';
import { buyTemplate, percentile, press } from '../load/wrk.ts';
import { takeTurns } from '../rounds.ts';
import { demand } from '../sanity.ts';
import type { Scenario } from '../scenario.ts';
import { openStage } from '../testbed.ts';

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
  title: 'What wrk can reach, against the ceiling',
  async run(options) {
    const stage = await openStage({ apart: true, stopping: options.stopping });
    try {
      const { file } = await writeBuyers(join(stage.directory, 'buyers'), {
        name: 'any',
        count: REQUESTS,
        purchasesEach: 1,
      });
      const ceiling = await startCeiling(stage, {
        status: '409 Conflict',
        headers: [['Content-Type', 'application/problem+json']],
        body: JSON.stringify(problem('sold_out')),
      });
      const rounds = await takeTurns(options, Object.keys(LOADS), async (name) => {
        const cpuBefore = ceiling.cpuSeconds();
        const pressed = await press({
          ...LOADS[name]!,
          port: ceiling.port,
          template: buyTemplate('any'),
          file,
          seconds: options.seconds,
          repeats: true,
          cores: stage.loadCores,
          stopping: stage.stopping,
        });
        const cpuSeconds = ceiling.cpuSeconds() - cpuBefore;
        demand(pressed.refused === pressed.requests, 'the ceiling answers otherwise');
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
            what: `answers a second, ${name} ÷ ${AS_ELSEWHERE}`,
            metric: 'perSecond',
            of: name,
            over: AS_ELSEWHERE,
          })),
      };
    } finally {
      await stage.close();
    }
  },
};
