/** Schemas of request values that several groups of routes accept. */
import { z } from 'zod';

/** The end of the year 9999: the last that ISO 8601 writes with four digits. */
const TIME_MS_MAX = 253_402_300_799_999;

/**
 * Free text. NUL can't be stored and half a surrogate pair is no character; neither belongs in a name. No pattern, since
 * readers of the OpenAPI document in other languages do not understand its classes.
 */
export function textSchema(lengthMax: number) {
  return z
    .string()
    .max(lengthMax)
    .refine((text) => !/[\p{Cc}\p{Cs}]/u.test(text), {
      error: 'must not contain control characters',
    });
}

/** An id in a path. One that can't be an id is merely unknown, unless it could not even be looked up. */
export const pathIdSchema = textSchema(200);

/** ISO 8601 with an offset or Z; milliseconds since the epoch once parsed. */
export const momentSchema = z.iso
  .datetime({ offset: true, error: 'wants an ISO 8601 time such as 2030-01-31T18:00:00.000Z' })
  .transform((text) => Date.parse(text))
  .refine((ms) => ms >= 0 && ms <= TIME_MS_MAX, { error: 'must be from 1970 to 9999' });
