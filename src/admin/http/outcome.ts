/** What a handler returns: a response, or a refusal with a code from the problem catalogue. */
import { eachFieldOnce, type FieldError, type ProblemCode } from '../../api/problems.ts';

export interface RouteResponse {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
}

export interface Refusal {
  refused: ProblemCode;
  extensions: Record<string, unknown>;
  headers?: Record<string, string>;
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
  return refuse('invalid_request', { errors: eachFieldOnce(errors) });
}

export function isRefusal(value: object | string): value is Refusal {
  return typeof value === 'object' && 'refused' in value;
}

/** A row with its times as ISO 8601. */
type JsonOf<Row> = {
  [Field in keyof Row]: Date extends Row[Field] ? string | Exclude<Row[Field], Date> : Row[Field];
};

export function rowToJson<Row extends object>(row: Row): JsonOf<Row> {
  const fields = Object.entries(row).map(([name, value]) => [
    name,
    value instanceof Date ? value.toISOString() : (value as unknown),
  ]);
  return Object.fromEntries(fields) as JsonOf<Row>;
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
