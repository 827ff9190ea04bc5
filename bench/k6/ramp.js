/**
 * New buyers arrive at a rising rate, independent of response times (an open model). Stock runs out on the way, so
 * the run has wins first and refusals after.
 *
 *   k6 run -e RATE=3000 -e STOCK=20000 bench/k6/ramp.js
 *
 * RATE is the rate of the last stage in buyers per second. Dropped iterations mean that this machine could not send
 * the load; then the run fails.
 */
import exec from 'k6/execution';
import {
  buy,
  checkSale,
  openSale,
  parameter,
  SUMMARY_TREND_STATS,
  summaryOf,
  thresholds,
} from './lib/flash-sale.js';

const RATE = parameter('RATE', 1_500);
const RISE_SECONDS = parameter('RISE_SECONDS', 20);
const HOLD_SECONDS = parameter('HOLD_SECONDS', 10);
const START_RATE = Math.min(50, RATE);

/** A straight rise, then a plateau. k6 may round by one arrival at either end. */
const ARRIVALS = Math.floor(((START_RATE + RATE) / 2) * RISE_SECONDS + RATE * HOLD_SECONDS);
const STOCK = parameter('STOCK', Math.floor(ARRIVALS / 2));
if (STOCK > ARRIVALS * 0.95) {
  throw new Error(`STOCK ${STOCK} leaves nobody to refuse: only about ${ARRIVALS} buyers arrive`);
}

export const options = {
  scenarios: {
    ramp: {
      executor: 'ramping-arrival-rate',
      startRate: START_RATE,
      timeUnit: '1s',
      // Enough for all arrivals while every response takes a second. Creating VUs during the run would cost arrivals.
      preAllocatedVUs: RATE,
      maxVUs: RATE * 2,
      stages: [
        { target: RATE, duration: `${RISE_SECONDS}s` },
        { target: RATE, duration: `${HOLD_SECONDS}s` },
      ],
    },
  },
  thresholds: thresholds({
    won: [`count==${STOCK}`],
    'refused{code:sold_out}': [`count>=${Math.floor((ARRIVALS - STOCK) * 0.98)}`],
    reservation_rows: [`count==${STOCK}`],
    dropped_iterations: ['count==0'],
  }),
  summaryTrendStats: SUMMARY_TREND_STATS,
  discardResponseBodies: true,
  setupTimeout: '60s',
  teardownTimeout: '180s',
};

export const setup = () => openSale({ scenario: 'ramp', stock: STOCK });

export default function nextBuyer({ saleId }) {
  buy({ saleId, buyerId: `buyer-${exec.scenario.iterationInTest}` });
}

export const teardown = checkSale;
export const handleSummary = summaryOf('ramp');
