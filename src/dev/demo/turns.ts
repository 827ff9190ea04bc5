/** A fixed number of turns, given in the order in which they were asked for. */
export class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];
  /** Where the line begins; taken from there without moving the rest, of which there may be thousands. */
  #first = 0;

  constructor(count: number) {
    this.#free = count;
  }

  async take(): Promise<void> {
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  give(): void {
    const next = this.#waiting[this.#first];
    if (!next) {
      this.#free += 1;
      return;
    }
    this.#first += 1;
    next();
  }
}
