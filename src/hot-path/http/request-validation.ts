/** Parses JSON bodies, and builds the response to a request that fails validation. */
import type { z } from 'zod';
import type { FieldError } from '../../api/problems.ts';
import { type PreparedResponse, problemResponse } from './responses.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true });

export const NOT_JSON: FieldError = { field: '', message: 'the body must be JSON in UTF-8' };

export const UNKNOWN_SKU = invalidField('sku', 'must be a SKU of this sale');
export const SKU_REQUIRED = invalidField('sku', 'must be set, because the sale has several SKUs');

/** Undefined: the bytes are not JSON in UTF-8. JSON itself cannot encode undefined. */
export function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(utf8.decode(body));
  } catch {
    return undefined;
  }
}

export function fieldErrorsOf(error: z.core.$ZodError): FieldError[] {
  return error.issues.map((issue) => ({ field: issue.path.join('.'), message: issue.message }));
}

export function invalidRequest(errors: FieldError[]): PreparedResponse {
  return problemResponse('invalid_request', { errors });
}

export function invalidField(field: string, message: string): PreparedResponse {
  return invalidRequest([{ field, message }]);
}
