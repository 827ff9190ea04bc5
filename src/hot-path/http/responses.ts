/**
 * Responses of the hot path as values. A problem without extension members is always the same bytes, so it is built once.
 * So are the constant header lines of a response, because each native call to write a header costs the hot path time.
 */
import {
  PROBLEMS,
  type ProblemCode,
  problem,
  type RetryAfter,
  retryAfterOf,
} from '../../api/problems.ts';

export type Header = readonly [name: string, value: string];

export interface PreparedResponse {
  /** The code and the reason phrase, as uWebSockets.js writes them. */
  status: string;
  /** The value of Cache-Control, and the constant header lines after it: see `headLines`. */
  head: string;
  /** Each response gets a random value in these limits. */
  retryAfter?: RetryAfter | undefined;
  /** Undefined: the response has no content, as 204. */
  body: string | undefined;
}

const STATUS_LINES: Record<number, string> = {
  200: '200 OK',
  201: '201 Created',
  204: '204 No Content',
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

/**
 * `no-store`: for one buyer, or of one moment. `no-cache`: a cache must ask again each time, because the next response may
 * differ; without it, caches may reuse a 404 or a view of a sale for as long as they like.
 */
type CacheControl = 'no-store' | 'no-cache';

/** Header lines to append to the value of another header. uWebSockets.js writes values as they are. */
export function headLines(headers: readonly Header[]): string {
  return headers.map(([name, value]) => `\r\n${name}: ${value}`).join('');
}

function headOf(cache: CacheControl, headers: readonly Header[]): string {
  return cache + headLines(headers);
}

function typed(contentType: string, headers: readonly Header[] = []): Header[] {
  return [['Content-Type', contentType], ...headers];
}

const JSON_TYPE = 'application/json';
const PERSONAL = headOf('no-store', typed(JSON_TYPE));
const PUBLIC = headOf('no-cache', typed(JSON_TYPE));
const REPLAYED = headOf('no-store', typed(JSON_TYPE, [['Idempotent-Replayed', 'true']]));

/** For the client that sent the request only. */
export function json(status: 200 | 201 | 503, value: unknown): PreparedResponse {
  return jsonText(status, JSON.stringify(value));
}

/** `body` is already serialized JSON. */
export function jsonText(status: 200 | 201 | 503, body: string): PreparedResponse {
  return { status: STATUS_LINES[status]!, head: PERSONAL, body };
}

/** The same for everybody. */
export function publicJson(value: unknown): PreparedResponse {
  return { status: STATUS_LINES[200]!, head: PUBLIC, body: JSON.stringify(value) };
}

/** The result of an earlier request, returned again. */
export function replayed(value: unknown): PreparedResponse {
  return { status: STATUS_LINES[200]!, head: REPLAYED, body: JSON.stringify(value) };
}

export function text(contentType: string, body: string): PreparedResponse {
  return { status: STATUS_LINES[200]!, head: headOf('no-store', typed(contentType)), body };
}

export function noContent(headers: readonly Header[]): PreparedResponse {
  return { status: STATUS_LINES[204]!, head: headOf('no-store', headers), body: undefined };
}

/** A problem with extension members. */
export function problemResponse(
  code: ProblemCode,
  extensions: Record<string, unknown> = {},
  headers: readonly Header[] = [],
): PreparedResponse {
  const { status } = PROBLEMS[code];
  return {
    status: STATUS_LINES[status]!,
    head: headOf(status === 404 ? 'no-cache' : 'no-store', typed(PROBLEM_TYPE, headers)),
    retryAfter: retryAfterOf(code),
    body: JSON.stringify(problem(code, extensions)),
  };
}

export const WWW_AUTHENTICATE: Header = ['WWW-Authenticate', 'Bearer'];

/** The responses of all problems without extension members, made once. */
export const PROBLEM_RESPONSES = Object.fromEntries(
  (Object.keys(PROBLEMS) as ProblemCode[]).map((code) => [
    code,
    code === 'unauthorized' ? problemResponse(code, {}, [WWW_AUTHENTICATE]) : problemResponse(code),
  ]),
) as Record<ProblemCode, PreparedResponse>;
