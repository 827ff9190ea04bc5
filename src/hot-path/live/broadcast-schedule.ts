/**
 * Schedules the messages about sales to WebSockets. A send takes some microseconds, during which purchases wait. Clients
 * are therefore divided into groups that take turns, so no purchase waits for all sends. A round over all groups takes
 * longer with more clients, and when the process is busy. While timers are late, several groups take their turn at once:
 * otherwise every turn would add its delay to the round, just when a sale opens.
 */

/** A client gets at most four messages about its sale a second. */
const ROUND_MS_MIN = 250;
const SENDS_PER_SECOND_MAX = 10_000;
const SENDS_PER_SECOND_BUSY = 2_500;
/** Utilization of the event loop from which the process counts as busy. */
const BUSY_UTILIZATION_MIN = 0.5;
const GROUPS = 16;
/** Measured while a sale opened, with timers 50 ms late: a round took 0.3 s, and 1.1 s with one group at a time. */
const GROUPS_AT_ONCE_MAX = 4;

export class BroadcastSchedule {
  readonly #takeTurn: (group: number) => void;
  readonly #countClients: () => number;
  #group = 0;
  #lastAssigned = 0;
  #sendsPerSecond = SENDS_PER_SECOND_MAX;
  #lastUtilization = performance.eventLoopUtilization();
  #timer: NodeJS.Timeout | undefined;
  /** When the next turn is due, and how long a turn takes. */
  #dueAt = 0;
  #turnMs = 0;
  /** The last turn of each group. */
  readonly #turnedAt = Array.from({ length: GROUPS }, () => Number.NEGATIVE_INFINITY);

  /** `takeTurn` is called with each group in turn, starting each round with 0, while there are clients. */
  constructor(takeTurn: (group: number) => void, countClients: () => number) {
    this.#takeTurn = takeTurn;
    this.#countClients = countClients;
  }

  /** Assigns a new client to a group. */
  nextGroup(): number {
    this.#lastAssigned = (this.#lastAssigned + 1) % GROUPS;
    return this.#lastAssigned;
  }

  /** Runs until a turn finds no clients. */
  start(): void {
    this.#timer ??= this.#schedule();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #schedule(): NodeJS.Timeout {
    const roundMs = Math.max(ROUND_MS_MIN, (this.#countClients() / this.#sendsPerSecond) * 1_000);
    // Rounded up, because a round must not be shorter than its minimum.
    this.#turnMs = Math.ceil(roundMs / GROUPS);
    this.#dueAt = performance.now() + this.#turnMs;
    return setTimeout(() => this.#turn(), this.#turnMs);
  }

  #turn(): void {
    this.#adaptRate();
    const nowMs = performance.now();
    const missed = Math.floor((nowMs - this.#dueAt) / this.#turnMs);
    const most = Math.min(GROUPS_AT_ONCE_MAX, 1 + missed);
    for (let turn = 0; turn < most; turn++) {
      if (nowMs - this.#turnedAt[this.#group]! < ROUND_MS_MIN) break;
      this.#turnedAt[this.#group] = nowMs;
      this.#takeTurn(this.#group);
      this.#group = (this.#group + 1) % GROUPS;
    }
    this.#timer = this.#countClients() > 0 ? this.#schedule() : undefined;
  }

  #adaptRate(): void {
    const current = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(current, this.#lastUtilization);
    this.#lastUtilization = current;
    this.#sendsPerSecond =
      utilization < BUSY_UTILIZATION_MIN ? SENDS_PER_SECOND_MAX : SENDS_PER_SECOND_BUSY;
  }
}
