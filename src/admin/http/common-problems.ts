/** The problems that every operation of the admin can give, beside its own. */
export const READ_PROBLEMS = [
  'unauthorized',
  'rate_limited',
  'forbidden',
  'method_not_allowed',
  'invalid_request',
  'overloaded',
  'unavailable',
] as const;

export const CHANGE_PROBLEMS = [...READ_PROBLEMS, 'payload_too_large', 'recovering'] as const;
