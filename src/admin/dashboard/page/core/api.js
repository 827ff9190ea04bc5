/**
 * Calls of the admin API. If the session has ended, a call waits until somebody has signed in again and is then repeated,
 * so nobody loses what they were doing.
 */
import { Problem, request } from './request.js';
import { loadSession, noteSessionEnd, session, signedInAgain } from './session.js';

const PREFIX = '/admin/v1';

/** @param {string} path @param {Record<string, string | number | undefined>} [query] @param {import('./request.js').RequestOptions} [options] */
export function get(path, query = {}, options = {}) {
  return call('GET', apiUrl(path, query), options);
}

/**
 * @param {'POST' | 'PATCH' | 'DELETE'} method
 * @param {string} path
 * @param {unknown} [body]
 * @param {string} [idempotencyKey] The same for every repetition of one change.
 */
export function change(method, path, body, idempotencyKey) {
  const headers = idempotencyKey === undefined ? {} : { 'Idempotency-Key': idempotencyKey };
  return call(method, apiUrl(path), { body, headers });
}

/** The address of an operation, also for links to files. @param {string} path @param {Record<string, string | number | undefined>} [query] */
export function apiUrl(path, query = {}) {
  const known = Object.entries(query).filter(([, value]) => value !== undefined && value !== '');
  const search = new URLSearchParams(known.map(([name, value]) => [name, String(value)]));
  return `${PREFIX}${path}${known.length === 0 ? '' : `?${search}`}`;
}

/** A path with encoded segments: `pathOf('sales', saleId, 'stock')`. @param {...string} segments */
export function pathOf(...segments) {
  return `/${segments.map(encodeURIComponent).join('/')}`;
}

/** Names one change, so that a repeated request takes effect once. */
export function newIdempotencyKey() {
  // crypto.randomUUID exists only on https and loopback.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `page-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/**
 * @param {string} method
 * @param {string} url
 * @param {import('./request.js').RequestOptions} options
 * @returns {Promise<any>}
 */
async function call(method, url, options) {
  let hasRenewedToken = false;
  for (;;) {
    const csrf = method === 'GET' ? {} : { 'X-CSRF-Token': session.value?.csrfToken ?? '' };
    try {
      return await request(method, url, { ...options, headers: { ...options.headers, ...csrf } });
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status === 401) {
        noteSessionEnd();
        await signedInAgain();
        continue;
      }
      // Another tab may have signed in with another role since: then the token for changes is another one too.
      const isStale = error.status === 403 && method !== 'GET' && !hasRenewedToken;
      if (!isStale) throw error;
      const before = session.value?.csrfToken;
      await loadSession();
      if (session.value?.csrfToken === before) throw error;
      hasRenewedToken = true;
    }
  }
}
