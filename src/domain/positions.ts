/**
 * Positions number the reservations of a sale. A recovery after lost decisions skips the positions that buyers may have
 * seen, so no position is given twice. Positions therefore have gaps, while the order, a list in Redis, has none.
 *
 * The text format of a gap is `after:count `; gaps are in ascending order.
 */

export interface Gap {
  /** The last position before the gap. */
  after: number;
  /** The number of skipped positions. */
  count: number;
}

export function parseGaps(text: string): Gap[] {
  const gaps = text.matchAll(/(\d+):(\d+)/g);
  return Array.from(gaps, ([, after, count]) => ({ after: Number(after), count: Number(count) }));
}

export function formatGaps(gaps: readonly Gap[]): string {
  return gaps.map(({ after, count }) => `${after}:${count} `).join('');
}

/** The number of reservations up to and including this position: where it is in the order, from 1. */
export function ordinalOf(position: number, gaps: readonly Gap[]): number {
  let ordinal = position;
  for (const { after, count } of gaps) {
    if (position > after) ordinal -= Math.min(count, position - after);
  }
  return ordinal;
}
