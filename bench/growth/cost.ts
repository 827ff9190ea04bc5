/**
 * What a request costs: CPU time of the hot paths and of Redis. Unlike throughput, it hardly depends on the number of
 * cores, so sizing.ts uses it.
 */
import { percentile, runWrk, type WrkLoad, type WrkResult } from '../load/wrk.ts';
import { measureRedis } from '../measure/redis-cpu.ts';
import type { Started, Testbed } from '../measure/testbed.ts';

/** The load on one hot path. */
export interface Crowd
  extends Pick<WrkLoad, 'template' | 'file' | 'seconds' | 'connections' | 'repeats'> {
  hotPath: Started;
}

export interface Cost {
  requests: number;
  refused: number;
  scriptCalls: number;
  figures: {
    perSecond: number;
    p99Ms: number;
    serverMicros: number;
    serverCpuShare: number;
    wrkCpuShare: number;
    redisMicros: number;
    bytesPerRequest: number;
    bytesPerResponse: number;
  };
}

/** All crowds send at the same time, each to its own hot path. */
export async function costOf(testbed: Testbed, crowds: readonly Crowd[]): Promise<Cost> {
  const effort = await measureRedis(testbed.servers.shards.of('any').client);
  const cpuBefore = cpuOf(crowds);
  // If one load fails, wait for the others to end too.
  const settled = await Promise.allSettled(
    crowds.map(({ hotPath: { port }, ...load }) =>
      runWrk({ ...load, port, cores: testbed.loadCores, stopping: testbed.stopping }),
    ),
  );
  const cpuSeconds = cpuOf(crowds) - cpuBefore;
  const { cpuSeconds: redisSeconds, scriptCalls } = await effort();
  const results = settled.map((each) => {
    if (each.status === 'rejected') throw each.reason;
    return each.value;
  });
  const sum = (of: (wrk: WrkResult) => number) =>
    results.reduce((total, each) => total + of(each), 0);
  const requests = sum((each) => each.requests);
  const seconds = Math.max(...results.map((each) => each.seconds));
  return {
    requests,
    refused: sum((each) => each.refused),
    scriptCalls,
    figures: {
      perSecond: sum((each) => each.perSecond),
      p99Ms: Math.max(...results.map((each) => percentile(each, 99))),
      serverMicros: (cpuSeconds / requests) * 1e6,
      serverCpuShare: cpuSeconds / seconds,
      wrkCpuShare: sum((each) => each.wrkCpuSeconds) / seconds,
      redisMicros: (redisSeconds / requests) * 1e6,
      bytesPerRequest: sum((each) => each.bytesPerRequest) / results.length,
      bytesPerResponse: sum((each) => each.bytesPerResponse * each.requests) / requests,
    },
  };
}

function cpuOf(crowds: readonly Crowd[]): number {
  return crowds.reduce((seconds, { hotPath }) => seconds + hotPath.cpuSeconds(), 0);
}
