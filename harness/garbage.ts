/** Collecting garbage on demand, without which a test of memory measures when the collector happened to run. */
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

/** What is in use on the heap, and in buffers beside it. Twice, for what finalizers let go of is garbage only then. */
export async function usedMiB(): Promise<number> {
  for (let round = 0; round < 3; round++) {
    collect();
    await turn();
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return (heapUsed + arrayBuffers) / 2 ** 20;
}
