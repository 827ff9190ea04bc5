/**
 * What the crowd was told: how often each answer came, and how fast.
 */
import { build, type Histogram } from 'hdr-histogram-js';

export const RESERVED = '201 reserved';
/** A yes whose first copy was lost on the way: the buyer asked again and was shown the same reservation. */
export const REPLAYED = '200 reserved, replayed';
export const SOLD_OUT = '409 sold_out';
export const NO_RESPONSE = 'no answer';

export class Tally {
  /** Latencies in microseconds, by answer. */
  readonly latencyUs = new Map<string, Histogram>();
  readonly #startedAt = performance.now();
  retries = 0;
  /** Milliseconds from the moment that all pressed until the last had an answer. */
  durationMs = 0;
  /** The clock, in milliseconds since the epoch, when the last yes arrived. */
  lastYesAt = 0;

  add(answer: string, latencyMs: number): void {
    let histogram = this.latencyUs.get(answer);
    if (!histogram) {
      histogram = build({ numberOfSignificantValueDigits: 3 });
      this.latencyUs.set(answer, histogram);
    }
    histogram.recordValue(Math.max(1, Math.round(latencyMs * 1_000)));
    this.durationMs = performance.now() - this.#startedAt;
    if (answer === RESERVED || answer === REPLAYED) this.lastYesAt = Date.now();
  }

  count(answer: string): number {
    return this.latencyUs.get(answer)?.totalCount ?? 0;
  }

  get accepted(): number {
    return this.count(RESERVED) + this.count(REPLAYED);
  }
}
