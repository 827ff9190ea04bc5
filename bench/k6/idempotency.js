/**
 * One buyer sends the same purchase fifty times at once with one key: exactly one 201, 49 times 200 with `Idempotent-
 * Replayed: true`, one row. Stock and limit would allow more, so only the key prevents it.
 *
 * That all fifty ids are equal follows from two counts: every id exists, and there is one row.
 */
import { Counter } from 'k6/metrics';
import {
  buy,
  checkSale,
  openSale,
  parameter,
  reservationExists,
  SUMMARY_TREND_STATS,
  summaryOf,
  thresholds,
  tokenOf,
} from './lib/flash-sale.js';

const VUS = parameter('VUS', 50);
const BUYER_ID = 'buyer-who-presses-often';

const idsThatDoNotExist = new Counter('ids_that_do_not_exist');

export const options = {
  scenarios: {
    idempotency: { executor: 'per-vu-iterations', vus: VUS, iterations: 1, maxDuration: '1m' },
  },
  thresholds: thresholds({
    created: ['count==1'],
    replayed: [`count==${VUS - 1}`],
    reservation_rows: ['count==1'],
    ids_that_do_not_exist: ['count==0'],
  }),
  summaryTrendStats: SUMMARY_TREND_STATS,
  discardResponseBodies: true,
  setupTimeout: '60s',
  teardownTimeout: '120s',
};

export const setup = () =>
  openSale({ scenario: 'idempotency', stock: VUS * 2, perBuyerLimit: VUS });

export default function samePurchase({ saleId }) {
  const token = tokenOf(BUYER_ID);
  const purchase = { saleId, buyerId: BUYER_ID, token, key: 'the-same-key', keyShared: true };
  const { reservationId } = buy(purchase);
  if (reservationId === undefined || !reservationExists({ reservationId, token })) {
    idsThatDoNotExist.add(1);
  }
}

export const teardown = checkSale;
export const handleSummary = summaryOf('idempotency');
