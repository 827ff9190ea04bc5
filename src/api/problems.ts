/**
 * Every refusal that leaves either API: its code, its HTTP status, its words. RFC 9457, problem details.
 */
import { FAULTS, type Fault } from '../domain/fault.ts';

interface ProblemKind {
  status: number;
  title: string;
  detail: string;
  /** Seconds after which the same request, with the same key, is worth sending again. */
  retryAfterSeconds?: number;
}

export const PROBLEMS = {
  unauthorized: {
    status: 401,
    title: 'Unauthorized',
    detail: 'Send a valid, unexpired token in the Authorization header.',
  },
  forbidden: {
    status: 403,
    title: 'Forbidden',
    detail: "The token's role does not allow this.",
  },
  not_found: { status: 404, title: 'Not found', detail: 'There is nothing at this address.' },
  sale_not_found: { status: 404, title: 'Sale not found', detail: 'There is no sale of that id.' },
  reservation_not_found: {
    status: 404,
    title: 'Reservation not found',
    detail: 'There is no reservation of that id, or it is not yours.',
  },
  method_not_allowed: {
    status: 405,
    title: 'Method not allowed',
    detail: 'This address exists, but not for this method.',
  },
  sold_out: { status: 409, title: 'Sold out', detail: 'Nothing is left of what you asked for.' },
  limit_reached: {
    status: 409,
    title: 'Limit reached',
    detail: 'This would be more than one buyer may have in this sale.',
  },
  sale_not_started: {
    status: 409,
    title: 'Sale not started',
    detail: 'The sale has not started yet.',
  },
  sale_paused: {
    status: 409,
    title: 'Sale paused',
    detail: 'The sale is paused; it may go on later.',
  },
  invalid_transition: {
    status: 409,
    title: 'Invalid transition',
    detail: 'This can not be done in the present state.',
  },
  insufficient_stock: {
    status: 409,
    title: 'Insufficient stock',
    detail: 'Fewer are left than that; ask for fewer.',
  },
  sale_ended: { status: 410, title: 'Sale ended', detail: 'The sale is over.' },
  payload_too_large: {
    status: 413,
    title: 'Payload too large',
    detail: 'The body may have 4096 bytes at most.',
  },
  invalid_request: {
    status: 422,
    title: 'Invalid request',
    detail: 'The request is not what this address takes; see errors.',
  },
  idempotency_key_reused: {
    status: 422,
    title: 'Idempotency key reused',
    detail:
      'This key already stands for another request. Send a new Idempotency-Key for another purchase; without a key, the buyer is the key.',
  },
  rate_limited: {
    status: 429,
    title: 'Rate limited',
    detail: 'Too many requests; wait a little.',
    retryAfterSeconds: 1,
  },
  recovering: {
    status: 503,
    title: 'Recovering',
    detail:
      'The sale is being checked against what is remembered. Send the same request again, same key.',
    retryAfterSeconds: 1,
  },
  overloaded: {
    status: 503,
    title: 'Overloaded',
    detail: 'Nothing was decided. Send the same request again, same key.',
    retryAfterSeconds: 1,
  },
  unavailable: {
    status: 503,
    title: 'Unavailable',
    detail:
      'The outcome is unknown. Send the same request again, same key: it is never done twice.',
    retryAfterSeconds: 1,
  },
} as const satisfies Record<string, ProblemKind>;

export type ProblemCode = keyof typeof PROBLEMS;

/** The problem that a request ends with when it meets a fault: the only mapping of faults to HTTP. */
export function problemOf({ code }: Fault) {
  return FAULTS[code].problem satisfies ProblemCode;
}

/** One mistake in a request: where (a path such as `items.0.quantity`), and what is wrong there. */
export interface FieldError {
  field: string;
  message: string;
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

export function retryAfterSecondsOf(code: ProblemCode): number | undefined {
  const kind: ProblemKind = PROBLEMS[code];
  return kind.retryAfterSeconds;
}
