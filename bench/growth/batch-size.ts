/** Buyers that one call may decide: what is saved by deciding many, and from when on nothing more is. */
import { startEngine } from '../contestants.ts';
import { growth } from './points.ts';
import { type FrontEnd, openFrontEnd, winTurn } from './wins.ts';

const SIZES = [1, 4, 16, 64, 128, 256];

const CONNECTIONS_MIN = 64;

export const batchSize = growth({
  name: 'batch-size',
  title: 'Wins, by `BATCH_SIZE_MAX`',
  by: 'to a batch',
  points: () => SIZES,
  stage: { apart: true },
  settings: {
    connections: `${CONNECTIONS_MIN} to ${connectionsOf(SIZES.at(-1)!)}`,
    buyers: 'warm',
  },
  ratios: [
    { what: 'wins a second', metric: 'perSecond' },
    { what: 'CPU of the front end a win', metric: 'serverMicros' },
    { what: 'CPU of Redis a win', metric: 'redisMicros' },
  ],
  async begin(stage, { seconds, tell }) {
    const bySize = new Map<number, FrontEnd>();
    for (const size of SIZES) {
      tell(`everybody looks at the sale: batches of ${size}`);
      const name = `batch-${size}`;
      const process = await startEngine(stage, { BATCH_SIZE_MAX: String(size) }, name);
      bySize.set(size, await openFrontEnd(stage, process, { name, seconds }));
    }
    return (size) =>
      winTurn(stage, {
        frontEnds: [bySize.get(size)!],
        seconds,
        connections: connectionsOf(size),
      });
  },
});

/** Two calls are full and two more could be; a longer line would be sent away where calls of one buyer are slow. */
function connectionsOf(size: number): number {
  return Math.max(CONNECTIONS_MIN, 4 * size);
}
