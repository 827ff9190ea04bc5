/** Removes consumers of ended processes. The contract is the header of remove-idle-consumers.lua. */
import { PERSISTER_GROUP } from '../keys.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

export const removeIdleConsumers = defineScript({
  source: new URL('remove-idle-consumers.lua', import.meta.url),
  keys: ['events'],
  args: 'group minIdleMs kept',
  needsReplicas: false,
  encode({ minIdleMs, kept }: { minIdleMs: number; kept: string }) {
    return [PERSISTER_GROUP, minIdleMs, kept];
  },
  decode(reply: Reply): number {
    if (typeof reply !== 'number') throw malformed('remove-idle-consumers', reply);
    return reply;
  },
});
