/** One HTTP request to the admin, and what can go wrong with it: a problem of the API, or no response at all. */
import { noteDateHeader } from './clock.js';

/**
 * @typedef {object} RequestOptions
 * @property {unknown} [body]
 * @property {Record<string, string>} [headers]
 * @property {number} [timeoutMs] Without a whole response by then, it is given up.
 */

/** A dead connection must not keep one of the six that a browser allows. The few requests that take longer set a time of their own. */
const TIMEOUT_MS = 60_000;

/** A response with an error. `errors` names the fields that are wrong. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {{ code?: string, title?: string, detail?: string, errors?: { field: string, message: string }[] } & Record<string, unknown>} body
   */
  constructor(status, body) {
    super(body.detail ?? body.title ?? `The server responded with status ${status}.`);
    this.name = 'Problem';
    this.status = status;
    this.code = body.code ?? '';
    this.errors = body.errors ?? [];
    this.body = body;
  }
}

/** No response: the network or the admin is down. */
class NoResponse extends Error {
  constructor() {
    super('The server does not respond. Check the connection and try again.');
    this.name = 'NoResponse';
  }
}

/**
 * The body of a response as JSON; undefined if it has none. Throws `Problem` and `NoResponse`.
 *
 * @param {string} method
 * @param {string} url
 * @param {RequestOptions} [options]
 * @returns {Promise<any>}
 */
export async function request(method, url, { body, headers = {}, timeoutMs = TIMEOUT_MS } = {}) {
  /** @type {Response} */
  let response;
  let text;
  try {
    response = await fetch(url, {
      method,
      headers: {
        Accept: 'application/json',
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(timeoutMs),
      cache: 'no-store',
      credentials: 'same-origin',
    });
    text = await response.text();
  } catch {
    throw new NoResponse();
  }
  noteDateHeader(response.headers.get('Date'));
  const json = parse(text);
  if (!response.ok) throw new Problem(response.status, json ?? {});
  return json;
}

/** @param {string} text */
function parse(text) {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}
