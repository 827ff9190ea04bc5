/** Fifty buyers, one unit: exactly one 201, and 49 times 409 `sold_out`. */
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

const VUS = parameter('VUS', 50);

export const options = {
  scenarios: {
    oversell: { executor: 'per-vu-iterations', vus: VUS, iterations: 1, maxDuration: '1m' },
  },
  thresholds: thresholds({
    created: ['count==1'],
    'refused{code:sold_out}': [`count==${VUS - 1}`],
    reservation_rows: ['count==1'],
  }),
  summaryTrendStats: SUMMARY_TREND_STATS,
  discardResponseBodies: true,
  setupTimeout: '60s',
  teardownTimeout: '120s',
};

export const setup = () => openSale({ scenario: 'oversell', stock: 1 });

export default function oneBuyer({ saleId }) {
  buy({ saleId, buyerId: buyerIdOfVu() });
}

export const teardown = checkSale;
export const handleSummary = summaryOf('oversell');
