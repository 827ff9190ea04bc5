/**
 * When clients hear of their sales. A send costs this process some microseconds, and buyers wait meanwhile. So clients
 * stand in rows, which have their turns one after the other, and no buyer ever waits for all of them; and the more
 * clients there are, and the busier the process, the longer a round takes.
 */

/** No client hears of the sale more often than four times a second. */
const ROUND_MS_MIN = 250;
const SENDS_PER_SECOND_MAX = 10_000;
const SENDS_PER_SECOND_BUSY = 2_500;
/** The share of its time that the event loop works. */
const BUSY_MIN = 0.5;
const ROWS = 16;

export class BroadcastSchedule {
  readonly #takeTurn: (row: number) => void;
  readonly #countClients: () => number;
  #row = 0;
  #given = 0;
  #sendsPerSecond = SENDS_PER_SECOND_MAX;
  #worked = performance.eventLoopUtilization();
  #timer: NodeJS.Timeout | undefined;

  /** `takeTurn` is called with each row in turn, the first of a round with 0, while there are clients. */
  constructor(takeTurn: (row: number) => void, countClients: () => number) {
    this.#takeTurn = takeTurn;
    this.#countClients = countClients;
  }

  /** The row of the next client to come. */
  nextRow(): number {
    this.#given = (this.#given + 1) % ROWS;
    return this.#given;
  }

  /** Goes on until a turn finds no client. */
  start(): void {
    this.#timer ??= this.#schedule();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #schedule(): NodeJS.Timeout {
    const roundMs = Math.max(ROUND_MS_MIN, (this.#countClients() / this.#sendsPerSecond) * 1_000);
    // Rounded up, for a round must not be shorter than its least.
    return setTimeout(() => this.#turn(), Math.ceil(roundMs / ROWS));
  }

  #turn(): void {
    this.#lookHowBusy();
    this.#takeTurn(this.#row);
    this.#row = (this.#row + 1) % ROWS;
    this.#timer = this.#countClients() > 0 ? this.#schedule() : undefined;
  }

  #lookHowBusy(): void {
    const worked = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(worked, this.#worked);
    this.#worked = worked;
    this.#sendsPerSecond = utilization < BUSY_MIN ? SENDS_PER_SECOND_MAX : SENDS_PER_SECOND_BUSY;
  }
}
