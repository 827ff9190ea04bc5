/**
 * Positions count the reservations of a sale. After a server forgot decisions, those that buyers may have been told of
 * are left out, so that none is ever given twice: between them the positions have gaps, while the order, a list in
 * Redis, has none.
 *
 * Gaps travel as `after:count ` each, in ascending order.
 */

export interface Gap {
  /** The last position before it. */
  after: number;
  /** Positions that are left out. */
  count: number;
}

export function parseGaps(text: string): Gap[] {
  return text
    .split(' ')
    .filter((gap) => gap !== '')
    .map((gap) => {
      const [after, count] = gap.split(':');
      return { after: Number(after), count: Number(count) };
    });
}

export function formatGaps(gaps: readonly Gap[]): string {
  return gaps.map(({ after, count }) => `${after}:${count} `).join('');
}

/** How many reservations there are up to this position, itself included: its place in the order, from 1. */
export function placeOf(position: number, gaps: readonly Gap[]): number {
  let place = position;
  for (const { after, count } of gaps) {
    if (position > after) place -= Math.min(count, position - after);
  }
  return place;
}
