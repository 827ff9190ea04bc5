/** Removes from a sale's stream the events that PostgreSQL has. The contract is the header of trim-events.lua. */
import { PERSISTER_GROUP } from '../keys.ts';
import { defineScript } from '../script.ts';

export const trimEvents = defineScript({
  source: new URL('trim-events.lua', import.meta.url),
  keys: ['sale', 'events'],
  args: 'group',
  needsReplicas: false,
  encode: () => [PERSISTER_GROUP],
  words: ['unknown_sale', 'recovering'],
  decode([outcome, entries, drained, events]) {
    if (outcome !== 'trimmed') return undefined;
    return { outcome, entries: Number(entries), drained: Number(drained), events: Number(events) };
  },
});
