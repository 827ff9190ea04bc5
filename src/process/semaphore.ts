/**
 * Bounds how many sales write at the same time, first come first served: a sale that has written goes to the end of
 * the line, so that a big one cannot starve the others.
 */
export class Slots {
  readonly #waiting: (() => void)[] = [];
  #free: number;

  constructor(count: number) {
    this.#free = count;
  }

  /** Whether somebody waits for one. */
  get areShort(): boolean {
    return this.#waiting.length > 0;
  }

  /** Runs the work as soon as a slot is free, and frees it again however the work ends. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      // The slot is handed over, not freed and taken: nobody can slip in between.
      if (next) next();
      else this.#free += 1;
    }
  }
}
