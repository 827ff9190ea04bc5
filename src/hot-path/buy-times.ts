/**
 * How long buys took, by what their buyers were told: the one histogram that every answer is counted in. prom-client's
 * own way of counting costs half a microsecond, as much as all gates together; here it is three additions, and labels
 * are made when somebody asks.
 */
import { Histogram, type Registry } from 'prom-client';

const NAME = 'flash_sale_buy_seconds';
const BOUNDS_SECONDS = [
  0.00005, 0.0002, 0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
] as const;

interface Counts {
  /** By bucket, the last of them without a bound; not cumulative. */
  buckets: Float64Array;
  sumSeconds: number;
}

export class BuyTimes extends Histogram<'outcome'> {
  readonly #byOutcome = new Map<string, Counts>();

  constructor(registry: Registry) {
    super({
      name: NAME,
      help: 'Time from reading a buy request to answering it, by outcome',
      labelNames: ['outcome'],
      buckets: [...BOUNDS_SECONDS],
      registers: [registry],
    });
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

  /** How prom-client asks for a histogram when it is to become text; its types don't say so. */
  getForPromString(): ReturnType<Histogram<'outcome'>['get']> {
    return this.get();
  }

  override async get(): ReturnType<Histogram<'outcome'>['get']> {
    const values = [...this.#byOutcome].flatMap(([outcome, { buckets, sumSeconds }]) => {
      let total = 0;
      const cumulative = [...buckets].map((count, index) => {
        total += count;
        const labels = { outcome, le: BOUNDS_SECONDS[index] ?? '+Inf' };
        return { metricName: `${NAME}_bucket`, labels, value: total };
      });
      return [
        ...cumulative,
        { metricName: `${NAME}_sum`, labels: { outcome }, value: sumSeconds },
        { metricName: `${NAME}_count`, labels: { outcome }, value: total },
      ];
    });
    return { ...(await super.get()), values };
  }
}
