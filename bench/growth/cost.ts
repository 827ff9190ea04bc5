/**
 * What a request costs: CPU time of the front ends and of Redis, which is the same however many cores there are. It is
 * what sizing.ts makes its sums of; a throughput belongs to the machine.
 */
import { type Press, type Pressed, percentile, press } from '../load/wrk.ts';
import { measureRedis } from '../measure/redis-cpu.ts';
import type { Started, Testbed } from '../measure/testbed.ts';

/** What presses one front end. */
export interface Crowd
  extends Pick<Press, 'template' | 'file' | 'seconds' | 'connections' | 'repeats'> {
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

/** All crowds press at once, each its own front end. */
export async function costOf(testbed: Testbed, crowds: readonly Crowd[]): Promise<Cost> {
  const effort = await measureRedis(testbed.servers.shards.of('any').client);
  const cpuBefore = cpuOf(crowds);
  // None is left pressing when another one failed.
  const settled = await Promise.allSettled(
    crowds.map(({ hotPath: { port }, ...load }) =>
      press({ ...load, port, cores: testbed.loadCores, stopping: testbed.stopping }),
    ),
  );
  const cpuSeconds = cpuOf(crowds) - cpuBefore;
  const { cpuSeconds: redisSeconds, scriptCalls } = await effort();
  const presses = settled.map((each) => {
    if (each.status === 'rejected') throw each.reason;
    return each.value;
  });
  const sum = (of: (pressed: Pressed) => number) =>
    presses.reduce((total, each) => total + of(each), 0);
  const requests = sum((each) => each.requests);
  const seconds = Math.max(...presses.map((each) => each.seconds));
  return {
    requests,
    refused: sum((each) => each.refused),
    scriptCalls,
    figures: {
      perSecond: sum((each) => each.perSecond),
      p99Ms: Math.max(...presses.map((each) => percentile(each, 99))),
      serverMicros: (cpuSeconds / requests) * 1e6,
      serverCpuShare: cpuSeconds / seconds,
      wrkCpuShare: sum((each) => each.wrkCpuSeconds) / seconds,
      redisMicros: (redisSeconds / requests) * 1e6,
      bytesPerRequest: sum((each) => each.bytesPerRequest) / presses.length,
      bytesPerResponse: sum((each) => each.bytesPerResponse * each.requests) / requests,
    },
  };
}

function cpuOf(crowds: readonly Crowd[]): number {
  return crowds.reduce((seconds, { hotPath }) => seconds + hotPath.cpuSeconds(), 0);
}
