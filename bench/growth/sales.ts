/** Sales that are on at once, and SKUs of one sale: the same crowd spreads over all of them, so what calls carry shrinks. */

import { startEngine } from '../contestants.ts';
import type { Scenario } from '../scenario.ts';
import { growth } from './points.ts';
import { CONNECTIONS, openFrontEnd, winTurn } from './wins.ts';

const COUNTS = [1, 3, 10, 30, 100];

export const sales = spread('sales', 'Wins, by sales at once', (count) => ({ sales: count }));
export const skus = spread('skus', 'Wins, by SKUs of the sale', (count) => ({ skus: count }));

function spread(
  name: string,
  title: string,
  turnOf: (count: number) => { sales?: number; skus?: number },
): Scenario {
  return growth({
    name,
    title,
    by: name === 'skus' ? 'SKUs' : name,
    points: () => COUNTS,
    stage: { apart: true },
    settings: { connections: CONNECTIONS, buyers: 'warm' },
    ratios: [
      { what: 'wins a second', metric: 'perSecond' },
      { what: 'CPU of the front end a win', metric: 'serverMicros' },
      { what: 'CPU of Redis a win', metric: 'redisMicros' },
    ],
    async begin(stage, { seconds, tell }) {
      tell('everybody looks at a sale');
      const frontEnd = await openFrontEnd(stage, await startEngine(stage), { name, seconds });
      return (count) => winTurn(stage, { frontEnds: [frontEnd], seconds, ...turnOf(count) });
    },
  });
}
