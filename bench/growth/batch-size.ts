/** Buyers that one call may decide: what is saved by deciding many, and from when on nothing more is. */
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
  async begin(testbed, { seconds, tell }) {
    const bySize = new Map<number, HotPath>();
    for (const size of SIZES) {
      tell(`everybody looks at the sale: batches of ${size}`);
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

/** Two calls are full and two more could be; a longer line would be sent away where calls of one buyer are slow. */
function connectionsOf(size: number): number {
  return Math.max(CONNECTIONS_MIN, 4 * size);
}
