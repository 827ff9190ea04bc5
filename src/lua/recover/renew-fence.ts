/** Opens a sale again on a server that has lost no decision. The contract is the header of renew-fence.lua. */
import { REBUILD_KEYS } from '../keys.ts';
import { defineScript, oneOf } from '../script.ts';

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
  encode: ({ timeline, closing, events, operation, positionFloor }: Renewal) => [
    timeline,
    closing,
    events,
    operation,
    positionFloor,
  ],
  decode: oneOf('renewed', 'behind', 'superseded', 'unknown_sale'),
});

export type RenewFenceReply = ReturnType<(typeof renewFence)['decode']>;
