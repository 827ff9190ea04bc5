/** Counts the responses of the crowd and their latencies. */
import { build, type Histogram } from 'hdr-histogram-js';

export const RESERVED = '201 reserved';
/** The first response was lost; the retry got the same reservation. */
export const REPLAYED = '200 reserved, replayed';
export const SOLD_OUT = '409 sold_out';
export const NO_RESPONSE = 'no response';

export class Tally {
  /** Latencies in microseconds by response. */
  readonly latencyUs = new Map<string, Histogram>();
  readonly #startedAt = performance.now();
  retries = 0;
  /** From the start of the crowd until its last response. */
  durationMs = 0;
  /** When the last acceptance arrived, in milliseconds since the epoch. */
  lastAcceptedAt = 0;

  add(response: string, latencyMs: number): void {
    let histogram = this.latencyUs.get(response);
    if (!histogram) {
      histogram = build({ numberOfSignificantValueDigits: 3 });
      this.latencyUs.set(response, histogram);
    }
    histogram.recordValue(Math.max(1, Math.round(latencyMs * 1_000)));
    this.durationMs = performance.now() - this.#startedAt;
    if (response === RESERVED || response === REPLAYED) this.lastAcceptedAt = Date.now();
  }

  count(response: string): number {
    return this.latencyUs.get(response)?.totalCount ?? 0;
  }

  get accepted(): number {
    return this.count(RESERVED) + this.count(REPLAYED);
  }
}
