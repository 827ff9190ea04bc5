/**
 * Pages of a listing by keyset cursor: the position of the last row, opaque to the client. A page costs the same at any
 * depth, and rows that are inserted meanwhile neither repeat nor hide others.
 */
import { z } from 'zod';
import { type Refusal, type RouteResponse, refuseFields, respond } from './outcome.ts';

const PAGE_LIMIT_MAX = 500;

export const pageQuery = {
  limit: z.coerce.number().int().min(1).max(PAGE_LIMIT_MAX).default(50),
  cursor: z.string().max(300).optional().describe('`nextCursor` of the previous page.'),
};

/** The position of a row in a listing. */
export type Cursor = readonly (string | number)[];

/** A listing ordered by a numeric id. */
export const idCursorSchema = z.tuple([z.int().min(1)]);

/** Which rows to select from a listing. */
export interface RowRange<Position extends Cursor> {
  /** The last row of the previous page; undefined: from the first row. */
  after: Position | undefined;
  rowsMax: number;
}

export interface PageRequest<Position extends Cursor> extends RowRange<Position> {
  limit: number;
}

export function pageSchema<T extends z.ZodType>(row: T) {
  return z.object({
    data: z.array(row),
    nextCursor: z.string().nullable().describe('Null on the last page.'),
  });
}

/** Refuses a cursor that does not have the listing's shape. */
export function parsePage<Position extends Cursor>(
  query: { limit: number; cursor?: string | undefined },
  shape: z.ZodType<Position>,
): PageRequest<Position> | Refusal {
  const { limit, cursor } = query;
  // The additional row shows whether there is a next page.
  const rowsMax = limit + 1;
  if (cursor === undefined) return { limit, rowsMax, after: undefined };
  try {
    const after = shape.parse(JSON.parse(Buffer.from(cursor, 'base64url').toString()));
    return { limit, rowsMax, after };
  } catch {
    return refuseFields({ field: 'cursor', message: 'must be a nextCursor of this listing' });
  }
}

/** The page of the rows that a request selected, and the cursor of the next one. */
export function pageOf<Row>(
  rows: readonly Row[],
  { limit }: { limit: number },
  positionOf: (row: Row) => Cursor,
): { data: Row[]; nextCursor: string | null } {
  const data = rows.slice(0, limit);
  const last = data.at(-1);
  if (rows.length <= limit || last === undefined) return { data, nextCursor: null };
  const nextCursor = Buffer.from(JSON.stringify(positionOf(last))).toString('base64url');
  return { data, nextCursor };
}

export function respondPage<Row>(
  rows: readonly Row[],
  page: { limit: number },
  positionOf: (row: Row) => Cursor,
  show: (row: Row) => object,
): RouteResponse {
  const { data, nextCursor } = pageOf(rows, page, positionOf);
  return respond(200, { data: data.map(show), nextCursor });
}
