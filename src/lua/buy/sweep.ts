/** Ends expired holds and serves the waitlists. The contract is the header of sweep.lua. */
import { WAITLIST_KEYS } from '../keys.ts';
import { defineScript } from '../script.ts';

/** Blocks Redis, and so its buyers, for half a millisecond, see bench/expiry.ts. */
export const HOLDS_PER_CALL = 50;

interface Swept {
  outcome: 'swept';
  expired: number;
  served: number;
  /** How far the oldest of the ended holds was past its deadline; 0: none ended. */
  lateMs: number;
  /** Until the next sweep is needed; 0: now; undefined: only after an operator has changed the sale. */
  nextDueMs: number | undefined;
  /** Events that PostgreSQL may lack. */
  backlog: number;
}

export const sweep = defineScript({
  source: new URL('sweep.lua', import.meta.url),
  keys: WAITLIST_KEYS,
  args: 'most newTag',
  needsReplicas: false,
  encode: (bounds: { most: number; tag: string }) => [bounds.most, bounds.tag],
  words: ['unknown_sale', 'recovering', 'sale_ended'],
  decode([outcome, ...counts]): Swept | undefined {
    if (outcome !== 'swept') return undefined;
    const [expired = 0, served = 0, due = 0, lateMs = 0, backlog = 0] = counts.map(Number);
    return { outcome, expired, served, lateMs, nextDueMs: due < 0 ? undefined : due, backlog };
  },
});

export type SweepReply = ReturnType<(typeof sweep)['decode']>;
