/** Limits concurrent work. Permits are granted in the order of the requests, so one large user cannot starve others. */
export class Semaphore {
  #free: number;
  #waiters: (() => void)[] = [];
  /** The longest-waiting one. Removed without moving the others, of which there can be thousands. */
  #first = 0;

  constructor(permits: number) {
    this.#free = permits;
  }

  get hasWaiters(): boolean {
    return this.#first < this.#waiters.length;
  }

  async acquire(): Promise<void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiters.push(resolve));
  }

  /** Hands the permit to the next waiter directly, so that a later caller cannot take it first. */
  release(): void {
    if (!this.hasWaiters) {
      this.#free += 1;
      return;
    }
    const next = this.#waiters[this.#first]!;
    this.#first += 1;
    // Amortized O(1): at least half of the array is consumed before the rest is copied.
    if (this.#first * 2 >= this.#waiters.length) {
      this.#waiters = this.#waiters.slice(this.#first);
      this.#first = 0;
    }
    next();
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    await this.acquire();
    try {
      return await work();
    } finally {
      this.release();
    }
  }
}
