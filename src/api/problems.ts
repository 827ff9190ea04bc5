/** The catalogue of errors of both APIs, as RFC 9457 problem details: code, HTTP status and texts. */
import { FAULTS, type Fault } from '../domain/fault.ts';

/** Limits of a random `Retry-After`: clients that were refused together must not return together. */
export interface RetryAfter {
  leastSeconds: number;
  mostSeconds: number;
}

interface ProblemKind {
  status: number;
  title: string;
  detail: string;
  /** Set if the client may repeat the same request with the same key. */
  retryAfter?: RetryAfter;
}

/** A limit or a full queue has room again soon. */
const SOON: RetryAfter = { leastSeconds: 1, mostSeconds: 3 };
/** A server has to come back, and many clients wait for it. */
const LATER: RetryAfter = { leastSeconds: 1, mostSeconds: 5 };

export const PROBLEMS = {
  unauthorized: {
    status: 401,
    title: 'Unauthorized',
    detail: 'Send a valid token in the Authorization header.',
  },
  forbidden: {
    status: 403,
    title: 'Forbidden',
    detail: "The token's role does not allow this operation.",
  },
  not_found: { status: 404, title: 'Not found', detail: 'This path does not exist.' },
  sale_not_found: {
    status: 404,
    title: 'Sale not found',
    detail: 'There is no sale with that id.',
  },
  reservation_not_found: {
    status: 404,
    title: 'Reservation not found',
    detail: 'There is no reservation with that id, or it belongs to another buyer.',
  },
  method_not_allowed: {
    status: 405,
    title: 'Method not allowed',
    detail: 'This path does not support the method.',
  },
  sold_out: { status: 409, title: 'Sold out', detail: 'The requested items are sold out.' },
  limit_reached: {
    status: 409,
    title: 'Limit reached',
    detail: 'The request exceeds the limit per buyer.',
  },
  sale_not_started: {
    status: 409,
    title: 'Sale not started',
    detail: 'The sale has not started yet.',
  },
  sale_paused: {
    status: 409,
    title: 'Sale paused',
    detail: 'The sale is paused. It may resume later.',
  },
  invalid_transition: {
    status: 409,
    title: 'Invalid transition',
    detail: 'The current state does not allow this change.',
  },
  payment_conflict: {
    status: 409,
    title: 'Payment conflict',
    detail: 'The reservation is confirmed with another payment; see paymentRef.',
  },
  insufficient_stock: {
    status: 409,
    title: 'Insufficient stock',
    detail: 'Not enough units are left for that quantity.',
  },
  too_many_webhooks: {
    status: 409,
    title: 'Too many webhooks',
    detail: 'There are 100 webhook endpoints. Delete one first.',
  },
  sale_ended: { status: 410, title: 'Sale ended', detail: 'The sale has ended.' },
  payload_too_large: {
    status: 413,
    title: 'Payload too large',
    detail: 'The body must not exceed 4096 bytes.',
  },
  invalid_request: {
    status: 422,
    title: 'Invalid request',
    detail: 'The request is invalid; see errors.',
  },
  idempotency_key_reused: {
    status: 422,
    title: 'Idempotency key reused',
    detail: 'This key belongs to another request. Send a new Idempotency-Key for another purchase.',
  },
  rate_limited: {
    status: 429,
    title: 'Rate limited',
    detail: 'Too many requests. Wait before the next one.',
    retryAfter: SOON,
  },
  too_many_holds: {
    status: 429,
    title: 'Too many holds',
    detail:
      'This buyer has let too many holds in this sale end within a short time. Send the same request again after `until`.',
    // A response has the time that is left instead.
    retryAfter: { leastSeconds: 1, mostSeconds: 600 },
  },
  recovering: {
    status: 503,
    title: 'Recovering',
    detail: 'The sale is being recovered. Send the same request again, with the same key.',
    retryAfter: LATER,
  },
  overloaded: {
    status: 503,
    title: 'Overloaded',
    detail: 'No decision was made. Send the same request again, with the same key.',
    retryAfter: SOON,
  },
  unavailable: {
    status: 503,
    title: 'Unavailable',
    detail:
      'The outcome is unknown. Send the same request again, with the same key. It takes effect at most once.',
    retryAfter: LATER,
  },
} as const satisfies Record<string, ProblemKind>;

export type ProblemCode = keyof typeof PROBLEMS;

/** The problem for a fault: the only mapping of faults to HTTP. */
export function problemOf({ code }: Fault) {
  return FAULTS[code].problem satisfies ProblemCode;
}

/** An invalid field of a request. `field` is a path such as `items.0.quantity`. */
export interface FieldError {
  field: string;
  message: string;
}

export const UNKNOWN_FIELD = 'must not be present: it is not a field of this request';

/** With the first error of each field. */
export function eachFieldOnce(errors: readonly FieldError[]): FieldError[] {
  const byField = new Map<string, FieldError>();
  for (const error of errors) if (!byField.has(error.field)) byField.set(error.field, error);
  return [...byField.values()];
}

export interface Problem {
  type: string;
  title: string;
  status: number;
  code: ProblemCode;
  detail: string;
  [extension: string]: unknown;
}

export function problem(code: ProblemCode, extensions: Record<string, unknown> = {}): Problem {
  const kind: ProblemKind = PROBLEMS[code];
  return {
    type: `urn:flash-sale:problem:${code}`,
    title: kind.title,
    status: kind.status,
    code,
    detail: kind.detail,
    ...extensions,
  };
}

export function retryAfterOf(code: ProblemCode): RetryAfter | undefined {
  const kind: ProblemKind = PROBLEMS[code];
  return kind.retryAfter;
}

/** A random whole number of seconds. */
export function drawRetryAfterSeconds({ leastSeconds, mostSeconds }: RetryAfter): number {
  return leastSeconds + Math.floor(Math.random() * (mostSeconds - leastSeconds + 1));
}
