/** Replaces an archived sale by its marker. The contract is the header of mark-archived.lua. */
import { SALE_KEYS } from '../keys.ts';
import { defineScript, oneOf } from '../script.ts';

export const markArchived = defineScript({
  source: new URL('mark-archived.lua', import.meta.url),
  keys: SALE_KEYS,
  args: '',
  needsReplicas: false,
  encode: () => [],
  decode: oneOf('marked'),
});
