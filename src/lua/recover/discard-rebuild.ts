/** Frees what a cancelled rebuild has staged. The contract is the header of discard-rebuild.lua. */
import { REBUILD_KEYS } from '../keys.ts';
import { defineScript, oneOf } from '../script.ts';

export const discardRebuild = defineScript({
  source: new URL('discard-rebuild.lua', import.meta.url),
  keys: REBUILD_KEYS,
  args: 'timeline',
  encode: (rebuild: { timeline: number }) => [rebuild.timeline],
  decode: oneOf('discarded', 'superseded'),
});
