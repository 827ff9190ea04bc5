/** Bytes of a body to a checked value, or to the mistakes in it. */
import type { z } from 'zod';
import type { FieldError } from '../../api/problems.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true });

export const NOT_JSON: FieldError = { field: '', message: 'the body is not JSON in UTF-8' };

/** Undefined: the bytes are not JSON. JSON has no undefined, so there is no telling apart to do. */
export function jsonOf(body: Buffer): unknown {
  try {
    return JSON.parse(utf8.decode(body));
  } catch {
    return undefined;
  }
}

export function fieldErrorsOf(error: z.core.$ZodError): FieldError[] {
  return error.issues.map((issue) => ({ field: issue.path.join('.'), message: issue.message }));
}
