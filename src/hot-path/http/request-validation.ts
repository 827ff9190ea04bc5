/** Parses JSON bodies, and builds the response to a request that fails validation. */
import type { z } from 'zod';
import { eachFieldOnce, type FieldError, UNKNOWN_FIELD } from '../../api/problems.ts';
import { type PreparedResponse, problemResponse } from './responses.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true });

export const NOT_JSON: FieldError = { field: '', message: 'the body must be JSON in UTF-8' };

/** Each unknown field is longer in the response than in the request. */
const UNKNOWN_FIELDS_MAX = 10;

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
  const errors = error.issues.flatMap((issue): FieldError[] => {
    if (issue.code !== 'unrecognized_keys') {
      return [{ field: issue.path.join('.'), message: issue.message }];
    }
    return issue.keys.slice(0, UNKNOWN_FIELDS_MAX).map((key) => ({
      field: [...issue.path, key].join('.'),
      message: UNKNOWN_FIELD,
    }));
  });
  return eachFieldOnce(errors);
}

/** The fields of the body that name SKUs which the sale does not have. */
export function unknownSkus(fields: readonly string[]): PreparedResponse {
  return invalidRequest(fields.map((field) => ({ field, message: 'must be a SKU of this sale' })));
}

export function invalidRequest(errors: FieldError[]): PreparedResponse {
  return problemResponse('invalid_request', { errors });
}

export function invalidField(field: string, message: string): PreparedResponse {
  return invalidRequest([{ field, message }]);
}

export const UNKNOWN_SKU = unknownSkus(['sku']);
