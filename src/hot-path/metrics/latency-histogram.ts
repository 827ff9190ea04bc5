/**
 * The latency of purchases by outcome, as a metric for a prom-client registry. prom-client's own histogram validates and
 * hashes the labels of each observation. Here an observation is two additions, and a scrape builds the labels.
 */
import type { Histogram, Registry } from 'prom-client';

const BOUNDS_SECONDS = [
  0.00005, 0.0002, 0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
] as const;

interface Counts {
  /** One per bucket, not cumulative; the last bucket has no upper bound. */
  buckets: Float64Array;
  sumSeconds: number;
}

export class LatencyHistogram {
  readonly name = 'flash_sale_buy_seconds';
  readonly help = 'Time from reading a purchase request to its response, by outcome';
  readonly type = 'histogram';
  readonly aggregator = 'sum';
  readonly labelNames = ['outcome'];
  readonly #byOutcome = new Map<string, Counts>();

  constructor(registry: Registry) {
    // A registry uses only these fields and `get`, but its types require the classes of the library.
    registry.registerMetric(this as unknown as Histogram<'outcome'>);
  }

  count(outcome: string, seconds: number): void {
    let counts = this.#byOutcome.get(outcome);
    if (!counts) {
      counts = { buckets: new Float64Array(BOUNDS_SECONDS.length + 1), sumSeconds: 0 };
      this.#byOutcome.set(outcome, counts);
    }
    let bucket = 0;
    while (bucket < BOUNDS_SECONDS.length && seconds > BOUNDS_SECONDS[bucket]!) bucket++;
    counts.buckets[bucket]!++;
    counts.sumSeconds += seconds;
  }

  /** In the format of prom-client's own histograms. */
  async get() {
    const { name, help, type, aggregator } = this;
    const values = [...this.#byOutcome].flatMap(([outcome, { buckets, sumSeconds }]) => {
      let total = 0;
      const cumulative = [...buckets].map((count, index) => {
        total += count;
        const labels = { le: BOUNDS_SECONDS[index] ?? '+Inf', outcome };
        return { metricName: `${name}_bucket`, labels, value: total };
      });
      return [
        ...cumulative,
        { metricName: `${name}_sum`, labels: { outcome }, value: sumSeconds },
        { metricName: `${name}_count`, labels: { outcome }, value: total },
      ];
    });
    return { name, help, type, aggregator, values };
  }
}
