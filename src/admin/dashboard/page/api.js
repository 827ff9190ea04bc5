/**
 * The page's side of the API: the session, and calls that carry it. The session's cookie is out of reach for scripts;
 * the token against forged requests is kept in memory only, and `GET /session` returns it again after a reload.
 *
 * @typedef {{ role: 'viewer' | 'merchant' | 'operator', actor: string, csrfToken: string, expiresAt: string }} Session
 * @typedef {{ status: number, code?: string, detail?: string, [extension: string]: unknown }} Problem
 */
import { signal } from '@preact/signals';

/** Undefined: not known yet. Null: nobody is signed in. */
export const session = signal(/** @type {Session | null | undefined} */ (undefined));

/**
 * Signs in with a token, or with the code of a sign-in link.
 *
 * @param {{ token: string } | { code: string }} credentials
 */
export async function signIn(credentials) {
  session.value = /** @type {Session} */ (await send('POST', '/session', credentials));
}

export async function signOut() {
  await send('DELETE', '/session');
  session.value = null;
}

/** Finds the session of an earlier visit. */
export async function resumeSession() {
  try {
    session.value = /** @type {Session} */ (await send('GET', '/session'));
  } catch {
    session.value = null;
  }
}

/**
 * Calls an operation below `/admin/v1` and returns its JSON. Throws the problem that it responds with; after a 401 the
 * session has ended, and `session` is null.
 *
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 */
export function call(method, path, body) {
  return send(method, `/admin/v1${path}`, body);
}

/**
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body]
 */
async function send(method, path, body) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (method !== 'GET' && session.value) headers['X-CSRF-Token'] = session.value.csrfToken;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const response = await fetch(path, {
    method,
    headers,
    body: body === undefined ? null : JSON.stringify(body),
  });
  const text = await response.text();
  const value = text === '' ? undefined : JSON.parse(text);
  if (response.ok) return value;
  if (response.status === 401) session.value = null;
  throw /** @type {Problem} */ (value);
}
