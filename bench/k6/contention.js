/**
 * Ten thousand buyers send a purchase in the same second for a thousand units. Each buys once.
 *
 *   k6 run bench/k6/contention.js                       with `npm start` running
 *   k6 run -e VUS=2000 -e STOCK=200 bench/k6/contention.js
 */
import {
  buy,
  buyerIdOfVu,
  checkSale,
  openSale,
  parameter,
  SUMMARY_TREND_STATS,
  summaryOf,
  thresholds,
} from './lib/flash-sale.js';

const VUS = parameter('VUS', 10_000);
const STOCK = parameter('STOCK', 1_000);

export const options = {
  scenarios: {
    contention: { executor: 'per-vu-iterations', vus: VUS, iterations: 1, maxDuration: '5m' },
  },
  thresholds: thresholds({
    won: [`count==${Math.min(STOCK, VUS)}`],
    'refused{code:sold_out}': [`count==${Math.max(0, VUS - STOCK)}`],
    reservation_rows: [`count==${Math.min(STOCK, VUS)}`],
  }),
  summaryTrendStats: SUMMARY_TREND_STATS,
  discardResponseBodies: true,
  setupTimeout: '60s',
  teardownTimeout: '180s',
};

export const setup = () => openSale({ scenario: 'contention', stock: STOCK });

export default function oneBuyer({ saleId }) {
  buy({ saleId, buyerId: buyerIdOfVu() });
}

export const teardown = checkSale;
export const handleSummary = summaryOf('contention');
