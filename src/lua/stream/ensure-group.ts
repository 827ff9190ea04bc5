/** Creates the consumer group of a sale's stream. The contract is the header of ensure-group.lua. */
import { PERSISTER_GROUP } from '../keys.ts';
import { defineScript, oneOf } from '../script.ts';

export const ensureGroup = defineScript({
  source: new URL('ensure-group.lua', import.meta.url),
  keys: ['events'],
  args: 'group',
  encode: () => [PERSISTER_GROUP],
  decode: oneOf('made', 'already'),
});
