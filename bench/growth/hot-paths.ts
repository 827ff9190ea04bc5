/**
 * Front ends of one sale, each with a crowd of its own. They meet in Redis only, so what grows is what a win costs there.
 * All share the cores of this machine: how many wins a second there are says more of it than of them.
 */
import { startEngine } from '../measure/contestants.ts';
import { growth } from './points.ts';
import { type HotPath, openHotPath, winTurn } from './wins.ts';

const COUNTS = [1, 2, 3, 4];
const CONNECTIONS_EACH = 256;

export const hotPaths = growth({
  name: 'hot-paths',
  title: 'Wins of one sale by hot path processes',
  by: 'hot paths',
  points: () => COUNTS,
  testbed: {},
  settings: { connectionsEach: CONNECTIONS_EACH, buyers: 'warm', cores: 'shared' },
  ratios: [
    { what: 'hot path CPU per win', metric: 'serverMicros' },
    { what: 'Redis CPU per win', metric: 'redisMicros' },
  ],
  async begin(testbed, { seconds, tell }) {
    const all: HotPath[] = [];
    for (let number = 1; number <= Math.max(...COUNTS); number++) {
      tell(`everybody looks at a sale: hot path ${number}`);
      const name = `hot-path-${number}`;
      all.push(await openHotPath(testbed, await startEngine(testbed, {}, name), { name, seconds }));
    }
    return (count) =>
      winTurn(testbed, {
        hotPaths: all.slice(0, count),
        seconds,
        connections: CONNECTIONS_EACH,
      });
  },
});
