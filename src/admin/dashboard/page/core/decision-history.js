/** Decisions a second of the sale that is looked at, for the last two minutes. The page remembers what it has received. */
import { signal } from '@preact/signals';

const SAMPLES_MAX = 240;
/** A gap in the numbers is a gap in the chart. */
const GAP_MS = 2_500;

/** In the order of the chart, from the ground up; all others are `other`. */
export const OUTCOMES = /** @type {const} */ ([
  'reserved',
  'replayed',
  'sold_out',
  'insufficient_stock',
  'limit_reached',
  'other',
]);

/** @typedef {Record<(typeof OUTCOMES)[number], number>} Rates */
/** @typedef {{ atMs: number, rates: Rates | null, total: number | null, withoutRedis: number | null }} Sample */

/** @type {import('@preact/signals').Signal<Sample[]>} */
export const samples = signal([]);
let saleOfSamples = '';

/** @param {import('./shapes.js').SaleLive} numbers */
export function noteDecisions({ at, sale, decisions }) {
  if (sale.saleId !== saleOfSamples) {
    saleOfSamples = sale.saleId;
    samples.value = [];
  }
  if (!decisions) return;
  const atMs = Date.parse(at);
  const last = samples.value.at(-1);
  if (last && atMs <= last.atMs) return;
  const rates = ratesOf(decisions.perSecond);
  /** @type {Sample} */
  const sample = {
    atMs,
    rates,
    total: OUTCOMES.reduce((sum, outcome) => sum + rates[outcome], 0),
    withoutRedis: decisions.withoutRedisPerSecond,
  };
  const gap =
    last && atMs - last.atMs > GAP_MS
      ? [{ atMs: last.atMs + 1, rates: null, total: null, withoutRedis: null }]
      : [];
  samples.value = [...samples.value, ...gap, sample].slice(-SAMPLES_MAX);
}

/** By the outcomes of the chart: rates, or counts. @param {Record<string, number>} all @returns {Rates} */
export function ratesOf(all) {
  const rates = /** @type {Rates} */ (Object.fromEntries(OUTCOMES.map((outcome) => [outcome, 0])));
  for (const [outcome, rate] of Object.entries(all)) {
    const known = OUTCOMES.find((each) => each === outcome) ?? 'other';
    rates[known] += rate;
  }
  return rates;
}
