/** Removes consumers of ended processes. The contract is the header of remove-idle-consumers.lua. */
import { PERSISTER_GROUP } from '../keys.ts';
import { defineScript } from '../script.ts';

export const removeIdleConsumers = defineScript({
  source: new URL('remove-idle-consumers.lua', import.meta.url),
  keys: ['events'],
  args: 'group minIdleMs kept',
  needsReplicas: false,
  encode: (bounds: { minIdleMs: number; kept: string }) => [
    PERSISTER_GROUP,
    bounds.minIdleMs,
    bounds.kept,
  ],
  decode: ([removed]) => (typeof removed === 'number' ? removed : undefined),
});
