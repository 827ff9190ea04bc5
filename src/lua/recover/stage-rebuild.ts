/** Stages a portion of a rebuilt sale. The contract is the header of stage-rebuild.lua. */
import { REBUILD_KEYS } from '../keys.ts';
import { defineScript, oneOf } from '../script.ts';

export interface Portion {
  /** Buyer, record, buyer, record, … in the order of their positions. */
  records: string[];
  /** Deadline in ms, first-last position, … */
  holds: string[];
  /** Member of `line`, field of `waiting`, … */
  line: string[];
  /** Field of `past`, merchant note, … */
  notes: string[];
}

export const stageRebuild = defineScript({
  source: new URL('stage-rebuild.lua', import.meta.url),
  keys: ['sale', ...REBUILD_KEYS],
  args: 'timeline part portion',
  encode: ({ timeline, part, portion }: { timeline: number; part: number; portion: Portion }) => [
    timeline,
    part,
    JSON.stringify(portion),
  ],
  decode: oneOf('staged', 'superseded'),
});
