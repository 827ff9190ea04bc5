/**
 * Several hot paths of one sale, each with its own crowd. They share only Redis, so the result is the cost of a win
 * there. They also share the cores of this machine, so their throughput is not meaningful.
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
  async begin(testbed, { seconds, report }) {
    const all: HotPath[] = [];
    for (let number = 1; number <= Math.max(...COUNTS); number++) {
      report(`warming the token cache: hot path ${number}`);
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
