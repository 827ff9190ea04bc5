/** Ends expired holds and serves the waitlists. The contract is the header of sweep.lua. */
import { CHANGE_KEYS } from '../keys.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

export type SweepReply =
  | { outcome: 'unknown_sale' | 'recovering' }
  | {
      outcome: 'swept';
      expired: number;
      served: number;
      /** How far the oldest of the ended holds was past its deadline; 0: none ended. */
      lateMs: number;
      /** Until the next deadline; 0: more are due now; undefined: there are no holds. */
      nextDueMs: number | undefined;
    };

export const sweep = defineScript({
  source: new URL('sweep.lua', import.meta.url),
  keys: CHANGE_KEYS,
  args: 'most newTag',
  needsReplicas: false,
  encode(bounds: { most: number; tag: string }) {
    return [bounds.most, bounds.tag];
  },
  decode(reply: Reply): SweepReply {
    const [outcome, expired, served, nextDueMs, lateMs] = Array.isArray(reply) ? reply : [];
    if (outcome === 'unknown_sale' || outcome === 'recovering') return { outcome };
    if (outcome !== 'swept') throw malformed('sweep', reply);
    return {
      outcome,
      expired: Number(expired),
      served: Number(served),
      lateMs: Number(lateMs),
      nextDueMs: Number(nextDueMs) < 0 ? undefined : Number(nextDueMs),
    };
  },
});
