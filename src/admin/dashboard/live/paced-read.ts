/**
 * Reads a source no more often than needed, whatever the number of callers, and never twice at the same time. A source
 * that does not reply delays a caller for a second at most: it then gets the last value, marked as old.
 */
import { setTimeout as sleep } from 'node:timers/promises';

const WAIT_MS = 1_000;

export interface Reading<Value> {
  /** Undefined: the source has never replied. */
  value: Value | undefined;
  /** False: the source did not reply in time, or failed. */
  isCurrent: boolean;
  error: unknown;
}

export class PacedRead<Value> {
  readonly #read: () => Promise<Value>;
  #inFlight: Promise<void> | undefined;
  #startedMs = Number.NEGATIVE_INFINITY;
  #value: Value | undefined;
  #error: unknown;

  constructor(read: () => Promise<Value>) {
    this.#read = read;
  }

  /** When it was last wanted, on this process' monotonic clock. */
  usedMs = performance.now();

  /** Never rejects. Reads if the last read began at least `ageMsMax` ago. */
  async get(ageMsMax: number): Promise<Reading<Value>> {
    this.usedMs = performance.now();
    if (!this.#inFlight && this.usedMs - this.#startedMs >= ageMsMax) this.#start();
    if (this.#inFlight)
      await Promise.race([this.#inFlight, sleep(WAIT_MS, undefined, { ref: false })]);
    const isCurrent = this.#inFlight === undefined && this.#error === undefined;
    return { value: this.#value, isCurrent, error: this.#error };
  }

  #start(): void {
    this.#startedMs = performance.now();
    this.#inFlight = this.#readOnce().finally(() => {
      this.#inFlight = undefined;
    });
  }

  async #readOnce(): Promise<void> {
    try {
      this.#value = await this.#read();
      this.#error = undefined;
    } catch (error) {
      this.#error = error;
    }
  }
}
