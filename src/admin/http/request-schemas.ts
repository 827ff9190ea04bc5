/** Schemas of request values that several groups of routes accept. */
import { z } from 'zod';
import { tracingHeaders } from '../../api/schemas.ts';

/** What the operations of operators have in common. */
export const OPERATOR_REQUEST = { tag: 'Operators', headers: z.object(tracingHeaders) } as const;

/** The end of the year 9999, the last year that ISO 8601 writes with four digits. */
const TIME_MS_MAX = 253_402_300_799_999;

/**
 * Free text without control characters and unpaired surrogates. It has no pattern because OpenAPI tools in other
 * languages do not support these character classes.
 */
export function textSchema(lengthMax: number) {
  return z
    .string()
    .max(lengthMax)
    .refine((text) => !/[\p{Cc}\p{Cs}]/u.test(text), {
      error: 'must not contain control characters',
    });
}

/** An id in a path. Any text that PostgreSQL can look up is accepted: an impossible id is simply not found. */
export const pathIdSchema = textSchema(200);

/** A numeric id from a path; 0, which no row has, when the text is not one. */
export function numericId(text: string): number {
  const id = /^[1-9][0-9]{0,15}$/.test(text) ? Number(text) : 0;
  return Number.isSafeInteger(id) ? id : 0;
}

/** ISO 8601 with Z or an offset; parses to milliseconds since the epoch. */
export const timestampSchema = z.iso
  .datetime({
    offset: true,
    error: 'must be an ISO 8601 time such as 2030-01-31T18:00:00.000Z',
  })
  .transform((text) => Date.parse(text))
  .refine((ms) => ms >= 0 && ms <= TIME_MS_MAX, { error: 'must be from 1970 to 9999' });
