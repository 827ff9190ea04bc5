/** How long the drain of a sale pauses after a turn, if nothing wakes it. */
import { unreachable } from '../domain/fault.ts';
import { backoffMs } from '../process/backoff.ts';
import type { SaleCondition } from './recover/recover.ts';
import type { Timings } from './timings.ts';

/**
 * After a write, more events are left to gather: a transaction costs PostgreSQL and this process as much as a hundred of
 * its rows. There is no pause while more events arrive than a pause gathers.
 */
const GATHER_MS = 40;
/** Events of one write from which more are probably waiting. */
export const GATHERED_MAX = 2_000;
export const TRIM_INTERVAL_MS = 200;
export const IDLE_FIRST_MS = 10;
const RETRY_MS = 100;
/** While the sale is at rest: nobody waits for it, and there may be thousands. */
const RETRY_AT_REST_MS = 2_000;

/** The result of a turn. `behind`: it wrote so much that more events are probably waiting. */
export type Turn =
  | 'worked'
  | 'behind'
  | 'empty'
  | 'ahead'
  | Exclude<SaleCondition['outcome'], 'open'>;

export interface DrainState {
  /** Turns since the last write. */
  quietTurns: number;
  /** Nobody can buy, so nobody is known to wait. */
  isAtRest: boolean;
  /** Entries may have been acknowledged since the last trim. */
  hasUntrimmed: boolean;
}

/** In milliseconds; Infinity: until it is woken. */
export function pauseAfter(
  turn: Turn,
  { quietTurns, isAtRest, hasUntrimmed }: DrainState,
  { restMs, idleMs }: Pick<Timings, 'restMs' | 'idleMs'>,
): number {
  switch (turn) {
    case 'worked':
      return GATHER_MS;
    case 'behind':
      return 0;
    case 'ahead':
      return backoffMs(quietTurns, IDLE_FIRST_MS, RETRY_MS);
    case 'retry':
      return isAtRest ? RETRY_AT_REST_MS : RETRY_MS;
    case 'recovered':
      return RETRY_MS;
    case 'blocked':
      return restMs;
    case 'absent':
      // The admin sends a hint when it has sent the sale to Redis.
      return Number.POSITIVE_INFINITY;
    case 'empty':
      return hasUntrimmed
        ? Math.min(TRIM_INTERVAL_MS, IDLE_FIRST_MS * 2 ** quietTurns)
        : backoffMs(quietTurns, IDLE_FIRST_MS, idleMs);
    default:
      return unreachable(turn);
  }
}
