/** Wins by the size of a batch: what batching saves, and from which size it saves no more. */
import { startEngine } from '../measure/contestants.ts';
import { growth } from './points.ts';
import { type HotPath, openHotPath, winTurn } from './wins.ts';

const SIZES = [1, 4, 16, 64, 128, 256];

const CONNECTIONS_MIN = 64;

export const batchSize = growth({
  name: 'batch-size',
  title: 'Wins by `BATCH_SIZE_MAX`',
  by: 'buyers per call',
  points: () => SIZES,
  testbed: { apart: true },
  settings: {
    connections: `${CONNECTIONS_MIN} to ${connectionsOf(SIZES.at(-1)!)}`,
    buyers: 'warm',
  },
  ratios: [
    { what: 'wins per second', metric: 'perSecond' },
    { what: 'hot path CPU per win', metric: 'serverMicros' },
    { what: 'Redis CPU per win', metric: 'redisMicros' },
  ],
  async begin(testbed, { seconds, report }) {
    const bySize = new Map<number, HotPath>();
    for (const size of SIZES) {
      report(`warming the token cache: batches of ${size}`);
      const name = `batch-${size}`;
      const process = await startEngine(testbed, { BATCH_SIZE_MAX: String(size) }, name);
      bySize.set(size, await openHotPath(testbed, process, { name, seconds }));
    }
    return (size) =>
      winTurn(testbed, {
        hotPaths: [bySize.get(size)!],
        seconds,
        connections: connectionsOf(size),
      });
  },
});

/** Two calls in flight are full and two more batches are queued. A slow batch size would reject a longer queue. */
function connectionsOf(size: number): number {
  return Math.max(CONNECTIONS_MIN, 4 * size);
}
