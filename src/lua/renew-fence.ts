/** Opens a sale again after a restart that lost nothing. The contract is the header of renew-fence.lua. */
import { defineScript, malformed, type Reply } from './script.ts';

export type RenewFenceReply = 'renewed' | 'already' | 'behind' | 'unknown_sale';

export const renewFence = defineScript({
  name: 'renew-fence',
  keys: ['sale', 'events'],
  args: 'events checkpoint',
  encode(known: { events: number; checkpoint: string }) {
    return [known.events, known.checkpoint];
  },
  decode(reply: Reply): RenewFenceReply {
    switch (reply) {
      case 'renewed':
      case 'already':
      case 'behind':
      case 'unknown_sale':
        return reply;
      default:
        throw malformed('renew-fence', reply);
    }
  },
});
