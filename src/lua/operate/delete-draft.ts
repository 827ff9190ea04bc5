/** Deletes a draft. The contract is the header of delete-draft.lua. */
import { SALE_KEYS } from '../keys.ts';
import { defineScript, oneOf } from '../script.ts';

export const deleteDraft = defineScript({
  source: new URL('delete-draft.lua', import.meta.url),
  keys: SALE_KEYS,
  args: 'timeline',
  // A promoted replica that still has the draft has lost nothing.
  needsReplicas: false,
  encode: (timeline: number) => [timeline],
  decode: oneOf('deleted', 'kept', 'another'),
});
