/**
 * Wins by concurrent sales, and by SKUs of one sale. The same crowd spreads over all of them, so each call carries
 * fewer buyers.
 */

import { startEngine } from '../measure/contestants.ts';
import type { Scenario } from '../measure/scenario.ts';
import { growth } from './points.ts';
import { CONNECTIONS, openHotPath, winTurn } from './wins.ts';

const COUNTS = [1, 3, 10, 30, 100];

export const sales = spread('sales', 'Wins by concurrent sales', (count) => ({ sales: count }));
export const skus = spread('skus', 'Wins by SKUs in the sale', (count) => ({ skus: count }));

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
    testbed: { apart: true },
    settings: { connections: CONNECTIONS, buyers: 'warm' },
    ratios: [
      { what: 'wins per second', metric: 'perSecond' },
      { what: 'hot path CPU per win', metric: 'serverMicros' },
      { what: 'Redis CPU per win', metric: 'redisMicros' },
    ],
    async begin(testbed, { seconds, report }) {
      report('warming the token cache');
      const hotPath = await openHotPath(testbed, await startEngine(testbed), { name, seconds });
      return (count) => winTurn(testbed, { hotPaths: [hotPath], seconds, ...turnOf(count) });
    },
  });
}
