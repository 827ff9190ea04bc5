/**
 * Notices when the clock of a Redis server jumps, and when it differs from this process' clock. The server's clock decides
 * when sales start and end and when holds end (ADR 22), so operators must learn of both.
 */
import type { Redis } from 'ioredis';
import type { Logger } from 'pino';

/** A longer jump or a larger difference is reported. Also the longest step back that only stops a sale's time, see
 * lua/parts/time.lua. */
const JUMP_MS_MAX = 1_000;
/** A reading that took longer says too little about when the server read its clock. */
const READING_MS_MAX = 500;

export type ClockEvent = 'jump' | 'difference';

/** What is known of a server's clock. */
export interface ServerClock {
  /** The server's clock less this process' clock. */
  differenceMs: number;
  /** The last jump that this process noticed: how far, and when by this process' clock. */
  lastJump: { ms: number; noticedAt: number } | undefined;
}

interface Reading {
  serverMs: number;
  /** On this process' monotonic clock. */
  sentAt: number;
  receivedAt: number;
}

export class ClockWatch {
  readonly #log: Logger;
  readonly #onEvent: (event: ClockEvent) => void;
  #last: Reading | undefined;
  #isDifferent = false;
  #clock: ServerClock | undefined;

  constructor(log: Logger, onEvent: (event: ClockEvent) => void) {
    this.#log = log;
    this.#onEvent = onEvent;
  }

  /** Undefined before the first reading. */
  get clock(): ServerClock | undefined {
    return this.#clock;
  }

  /** Throws errors of Redis. `redis` names the server in the log. */
  async read(client: Redis, redis: string): Promise<void> {
    const sentAt = performance.now();
    const [seconds, microseconds] = await client.time();
    const serverMs = Number(seconds) * 1_000 + Number(microseconds) / 1_000;
    this.compare({ serverMs, sentAt, receivedAt: performance.now() }, Date.now(), redis);
  }

  /** Compares a reading with the last one, and with this process' clock at the time it was received. */
  compare(reading: Reading, ownMs: number, redis: string): void {
    const tookMs = reading.receivedAt - reading.sentAt;
    if (tookMs > READING_MS_MAX) return;
    const jumpMs = this.#last ? jumpBetween(this.#last, reading) : 0;
    this.#last = reading;
    const differenceMs = Math.round(reading.serverMs - (ownMs - tookMs / 2));
    this.#clock = { differenceMs, lastJump: this.#clock?.lastJump };
    if (Math.abs(jumpMs) > JUMP_MS_MAX) {
      this.#clock.lastJump = { ms: jumpMs, noticedAt: ownMs };
      this.#log.error({ redis, jumpMs }, 'redis clock jumped');
      this.#onEvent('jump');
    }
    const isDifferent = Math.abs(differenceMs) > JUMP_MS_MAX;
    if (isDifferent && !this.#isDifferent) {
      const reason = 'the clocks of Redis and of this process must agree; check both time services';
      this.#log.warn({ redis, differenceMs, reason }, 'redis clock differed');
      this.#onEvent('difference');
    }
    this.#isDifferent = isDifferent;
  }
}

/** At least how far the server's clock jumped, whatever the time that both readings were in transit. */
function jumpBetween(one: Reading, other: Reading): number {
  const passedMs = other.serverMs - one.serverMs;
  const least = other.sentAt - one.receivedAt;
  const most = other.receivedAt - one.sentAt;
  return Math.round(passedMs > most ? passedMs - most : Math.min(0, passedMs - least));
}
