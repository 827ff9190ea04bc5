/**
 * Cross-origin access for browsers, by the CORS protocol of https://fetch.spec.whatwg.org/#http-cors-protocol. Only
 * origins in `CORS_ORIGINS` may read responses; other origins get responses without these headers.
 */
import { type Header, headLines } from './responses.ts';

const EXPOSED = 'Retry-After, Idempotent-Replayed, X-Request-Id';
const REQUEST_HEADERS = 'authorization, content-type, idempotency-key, x-request-id, traceparent';
/** Browsers cap it: Chromium at two hours. */
const MAX_AGE_SECONDS = 7_200;

export class Cors {
  /** By origin: the value of Access-Control-Allow-Origin, and the header lines after it. */
  readonly #heads: ReadonlyMap<string, string>;
  readonly #headForAny: string | undefined;

  /** `*` allows every origin. */
  constructor(origins: readonly string[]) {
    this.#heads = new Map(origins.map((origin) => [origin, headOf(origin)]));
    this.#headForAny = this.#heads.get('*');
  }

  /** Written with one native call. Undefined: the origin may not read responses. */
  headFor(origin: string): string | undefined {
    return this.#headForAny ?? this.#heads.get(origin);
  }

  /** CORS does not cover WebSockets: a page of any origin could connect. `host` is the header of the request. */
  mayConnect(origin: string, host: string): boolean {
    return origin === '' || this.headFor(origin) !== undefined || isSameHost(origin, host);
  }
}

/** For a path with these methods. */
export function preflightHeaders(methods: readonly string[]): Header[] {
  return [
    ['Access-Control-Allow-Methods', methods.join(', ')],
    ['Access-Control-Allow-Headers', REQUEST_HEADERS],
    ['Access-Control-Max-Age', String(MAX_AGE_SECONDS)],
  ];
}

function headOf(origin: string): string {
  const lines = headLines([
    ['Vary', 'Origin'],
    ['Access-Control-Expose-Headers', EXPOSED],
  ]);
  return origin + lines;
}

function isSameHost(origin: string, host: string): boolean {
  return URL.canParse(origin) && new URL(origin).host === host.toLowerCase();
}
