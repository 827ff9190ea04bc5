/**
 * The engine's clock, estimated from responses: a time in a response belongs to a moment between sending and receiving.
 * So each sample is an interval of possible offsets, as wide as the round trip. The narrowest one wins.
 *
 * It counts on the monotonic clock of this machine, so a user who sets the time changes nothing. That clock may stop
 * while a machine sleeps. A sample that contradicts the known interval therefore replaces it.
 */

interface Estimate {
  /** Add it to the monotonic clock to get milliseconds since the epoch. */
  offsetMs: number;
  /** The true offset differs by at most this. */
  errorMs: number;
}

/** The offset drifts by at most 0.1 ms a second, as bad quartz does. */
const DRIFT = 1e-4;

export class ServerClock {
  #estimate: Estimate | undefined;
  #estimatedAt = 0;

  /** The server's time in milliseconds since the epoch; before the first sample, that of this machine. */
  now(): number {
    const { offsetMs } = this.#estimate ?? { offsetMs: Date.now() - performance.now() };
    return performance.now() + offsetMs;
  }

  /** `now()` is wrong by at most this; undefined: there was no sample. */
  get errorMs(): number | undefined {
    return this.#current(performance.now())?.errorMs;
  }

  /** A response with `serverTime` (ISO 8601); both other times are of `performance.now()`. */
  sample(serverTime: string, sentAt: number, receivedAt: number): void {
    const errorMs = (receivedAt - sentAt) / 2;
    const offsetMs = Date.parse(serverTime) - (sentAt + errorMs);
    if (Number.isNaN(offsetMs)) return;
    const known = this.#current(receivedAt);
    const isContradicted =
      known !== undefined && Math.abs(offsetMs - known.offsetMs) > errorMs + known.errorMs + 1;
    if (known && known.errorMs <= errorMs && !isContradicted) return;
    this.#estimate = { offsetMs, errorMs };
    this.#estimatedAt = receivedAt;
  }

  #current(atMs: number): Estimate | undefined {
    const estimate = this.#estimate;
    if (!estimate) return undefined;
    const { offsetMs, errorMs } = estimate;
    return { offsetMs, errorMs: errorMs + (atMs - this.#estimatedAt) * DRIFT };
  }
}
