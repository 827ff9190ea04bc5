/** Frees what a cancelled rebuild has staged. The contract is the header of discard-rebuild.lua. */
import { REBUILD_KEYS } from '../keys.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

export const discardRebuild = defineScript({
  source: new URL('discard-rebuild.lua', import.meta.url),
  keys: REBUILD_KEYS,
  args: 'timeline',
  encode(rebuild: { timeline: number }) {
    return [rebuild.timeline];
  },
  decode(reply: Reply): 'discarded' | 'superseded' {
    if (reply === 'discarded' || reply === 'superseded') return reply;
    throw malformed('discard-rebuild', reply);
  },
});
