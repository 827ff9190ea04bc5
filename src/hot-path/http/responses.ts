/** Responses of the hot path as values. A problem without extension members is always the same bytes, so it is built once. */
import { PROBLEMS, type ProblemCode, problem, retryAfterSecondsOf } from '../../api/problems.ts';

type HeaderList = readonly (readonly [name: string, value: string])[];

export interface PreparedResponse {
  /** The code and the reason phrase, as uWebSockets.js writes them. */
  status: string;
  contentType: string;
  headers: HeaderList;
  body: string;
}

const STATUS_LINES: Record<number, string> = {
  200: '200 OK',
  201: '201 Created',
  401: '401 Unauthorized',
  403: '403 Forbidden',
  404: '404 Not Found',
  405: '405 Method Not Allowed',
  409: '409 Conflict',
  410: '410 Gone',
  413: '413 Content Too Large',
  422: '422 Unprocessable Content',
  429: '429 Too Many Requests',
  503: '503 Service Unavailable',
};

const PROBLEM_TYPE = 'application/problem+json';
const NONE: HeaderList = [];

export function json(status: 200 | 201 | 503, value: unknown, headers = NONE): PreparedResponse {
  return jsonText(status, JSON.stringify(value), headers);
}

/** `body` is already serialized JSON. */
export function jsonText(status: 200 | 201 | 503, body: string, headers = NONE): PreparedResponse {
  return { status: STATUS_LINES[status]!, contentType: 'application/json', headers, body };
}

/** The result of an earlier request, returned again. */
export function replayed(value: unknown): PreparedResponse {
  return json(200, value, [['Idempotent-Replayed', 'true']]);
}

/** A problem with extension members. */
export function problemResponse(
  code: ProblemCode,
  extensions: Record<string, unknown> = {},
  headers = NONE,
): PreparedResponse {
  const retryAfterSeconds = retryAfterSecondsOf(code);
  return {
    status: STATUS_LINES[PROBLEMS[code].status]!,
    contentType: PROBLEM_TYPE,
    headers:
      retryAfterSeconds === undefined
        ? headers
        : [...headers, ['Retry-After', String(retryAfterSeconds)]],
    body: JSON.stringify(problem(code, extensions)),
  };
}

/** The responses of all problems without extension members, made once. */
export const PROBLEM_RESPONSES = Object.fromEntries(
  (Object.keys(PROBLEMS) as ProblemCode[]).map((code) => [
    code,
    code === 'unauthorized'
      ? problemResponse(code, {}, [['WWW-Authenticate', 'Bearer']])
      : problemResponse(code),
  ]),
) as Record<ProblemCode, PreparedResponse>;
