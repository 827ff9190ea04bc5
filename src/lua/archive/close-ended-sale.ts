/** Closes a sale that is about to be archived. The contract is the header of close-ended-sale.lua. */
import { defineScript, oneOf } from '../script.ts';

interface Archival {
  closing: string;
  /** The last ones that PostgreSQL has. */
  timeline: number;
  events: number;
  operation: number;
}

export const closeEndedSale = defineScript({
  source: new URL('close-ended-sale.lua', import.meta.url),
  keys: ['sale', 'stock'],
  args: 'closing timeline events operation',
  needsReplicas: false,
  encode: ({ closing, timeline, events, operation }: Archival) => [
    closing,
    timeline,
    events,
    operation,
  ],
  decode: oneOf('closed', 'not_ended', 'holds_not_settled', 'events_not_durable', 'recovering'),
});
