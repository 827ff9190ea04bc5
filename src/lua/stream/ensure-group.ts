/** Creates the consumer group of a sale's stream. The contract is the header of ensure-group.lua. */
import { PERSISTER_GROUP } from '../keys.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

export const ensureGroup = defineScript({
  source: new URL('ensure-group.lua', import.meta.url),
  keys: ['events'],
  args: 'group',
  encode() {
    return [PERSISTER_GROUP];
  },
  decode(reply: Reply): 'made' | 'already' {
    if (reply !== 'made' && reply !== 'already') throw malformed('ensure-group', reply);
    return reply;
  },
});
