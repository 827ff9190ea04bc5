/** Removes from a sale's stream the events that PostgreSQL has. The contract is the header of trim-events.lua. */
import { PERSISTER_GROUP } from '../keys.ts';
import { defineScript, malformed, type Reply } from '../script.ts';

export type TrimReply =
  | { outcome: 'unknown_sale' | 'recovering' }
  | { outcome: 'trimmed'; entries: number; drained: number };

export const trimEvents = defineScript({
  source: new URL('trim-events.lua', import.meta.url),
  keys: ['sale', 'events'],
  args: 'group',
  needsReplicas: false,
  encode() {
    return [PERSISTER_GROUP];
  },
  decode(reply: Reply): TrimReply {
    const [outcome, entries, drained] = Array.isArray(reply) ? reply : [];
    if (outcome === 'unknown_sale' || outcome === 'recovering') return { outcome };
    if (outcome !== 'trimmed') throw malformed('trim-events', reply);
    return { outcome, entries: Number(entries), drained: Number(drained) };
  },
});
