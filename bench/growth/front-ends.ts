/**
 * Front ends of one sale, each with a crowd of its own. They meet in Redis only, so what grows is what a win costs there.
 * All share the cores of this machine: how many wins a second there are says more of it than of them.
 */
import { startEngine } from '../contestants.ts';
import { growth } from './points.ts';
import { type FrontEnd, openFrontEnd, winTurn } from './wins.ts';

const COUNTS = [1, 2, 3, 4];
const CONNECTIONS_EACH = 256;

export const frontEnds = growth({
  name: 'front-ends',
  title: 'Wins of one sale, by front ends',
  by: 'front ends',
  points: () => COUNTS,
  stage: {},
  settings: { connectionsEach: CONNECTIONS_EACH, buyers: 'warm', cores: 'shared' },
  ratios: [
    { what: 'CPU of the front ends a win', metric: 'serverMicros' },
    { what: 'CPU of Redis a win', metric: 'redisMicros' },
  ],
  async begin(stage, { seconds, tell }) {
    const all: FrontEnd[] = [];
    for (let number = 1; number <= Math.max(...COUNTS); number++) {
      tell(`everybody looks at a sale: front end ${number}`);
      const name = `front-end-${number}`;
      all.push(await openFrontEnd(stage, await startEngine(stage, {}, name), { name, seconds }));
    }
    return (count) =>
      winTurn(stage, {
        frontEnds: all.slice(0, count),
        seconds,
        connections: CONNECTIONS_EACH,
      });
  },
});
