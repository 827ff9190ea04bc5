/**
 * Keyset cursors: where a page ended, opaque to the caller. A page then costs the same at any depth, and rows that
 * arrive meanwhile neither repeat nor hide others.
 */
import { z } from 'zod';

export const PAGE_LIMIT_MAX = 500;

export const pageQuery = {
  limit: z.coerce.number().int().min(1).max(PAGE_LIMIT_MAX).default(50),
  cursor: z.string().max(300).optional().describe('`nextCursor` of the page before.'),
};

export interface Page<Row> {
  data: Row[];
  nextCursor: string | null;
}

export function pageSchema<T extends z.ZodType>(row: T) {
  return z.object({
    data: z.array(row),
    nextCursor: z.string().nullable().describe('Null: this was the last page.'),
  });
}

export function encodeCursor(position: readonly (string | number)[]): string {
  return Buffer.from(JSON.stringify(position)).toString('base64url');
}

/** Undefined: not a cursor that this listing gave. */
export function decodeCursor<T extends z.ZodType>(
  cursor: string,
  shape: T,
): z.infer<T> | undefined {
  try {
    return shape.safeParse(JSON.parse(Buffer.from(cursor, 'base64url').toString())).data;
  } catch {
    return undefined;
  }
}

/** Makes a page of `limit` rows out of `limit + 1`: the one too many tells that there is a next page. */
export function pageOf<Row>(
  rows: readonly Row[],
  limit: number,
  positionOf: (row: Row) => readonly (string | number)[],
): Page<Row> {
  const data = rows.slice(0, limit);
  const last = data.at(-1);
  const hasMore = rows.length > limit && last !== undefined;
  return { data, nextCursor: hasMore ? encodeCursor(positionOf(last)) : null };
}
