/** What a handler returns: a response, or a refusal with a code from the problem catalogue. */
import type { FieldError, ProblemCode } from '../../api/problems.ts';

export interface RouteResponse {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
}

export interface Refusal {
  refused: ProblemCode;
  extensions: Record<string, unknown>;
}

export type Outcome = RouteResponse | Refusal;

export function respond(
  status: number,
  body?: unknown,
  headers: Record<string, string> = {},
): RouteResponse {
  return { status, body, headers };
}

export function refuse(code: ProblemCode, extensions: Record<string, unknown> = {}): Refusal {
  return { refused: code, extensions };
}

export function refuseFields(...errors: FieldError[]): Refusal {
  return refuse('invalid_request', { errors });
}

export function isRefusal(value: object): value is Refusal {
  return 'refused' in value;
}

/** The problems that every authenticated operation can return. */
export const READ_PROBLEMS = [
  'unauthorized',
  'rate_limited',
  'forbidden',
  'method_not_allowed',
  'invalid_request',
  'overloaded',
  'unavailable',
] as const;

/** The same for operations that change a sale or a reservation. */
export const CHANGE_PROBLEMS = [...READ_PROBLEMS, 'payload_too_large', 'recovering'] as const;
