/** Opens a sale again on a server that has lost no decision. The contract is the header of renew-fence.lua. */
import { REBUILD_KEYS } from '../keys.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

export type RenewFenceReply = 'renewed' | 'behind' | 'superseded' | 'unknown_sale';

export interface Renewal {
  timeline: number;
  closing: string;
  /** The last ones that PostgreSQL has. */
  events: number;
  operation: number;
  /** The last position that a buyer may have seen. */
  positionFloor: number;
}

export const renewFence = defineScript({
  source: new URL('renew-fence.lua', import.meta.url),
  keys: ['sale', ...REBUILD_KEYS],
  args: 'timeline closing events operation positionFloor',
  encode(renewal: Renewal) {
    const { timeline, closing, events, operation, positionFloor } = renewal;
    return [timeline, closing, events, operation, positionFloor];
  },
  decode(reply: Reply): RenewFenceReply {
    switch (reply) {
      case 'renewed':
      case 'behind':
      case 'superseded':
      case 'unknown_sale':
        return reply;
      default:
        throw malformed('renew-fence', reply);
    }
  },
});
