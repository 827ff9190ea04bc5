/** What a handler returns: an answer, or a refusal out of the catalogue of problems. The adapter knows HTTP. */
import type { FieldError, ProblemCode } from '../../api/problems.ts';

export interface Answer {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
}

export interface Refusal {
  refused: ProblemCode;
  extensions: Record<string, unknown>;
}

export function answer(
  status: number,
  body?: unknown,
  headers: Record<string, string> = {},
): Answer {
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
