/**
 * Who is signed in. The server keeps the session in a cookie that scripts cannot read; the page knows its role, its name
 * for the audit, and the token that changes must carry.
 */
import { computed, signal } from '@preact/signals';
import { Problem, request } from './request.js';

/** @import { Role, Session } from './shapes.js' */

const RANK = { viewer: 0, merchant: 1, operator: 2 };

/**
 * Undefined: the server has not been asked yet. Null: nobody is signed in.
 *
 * @type {import('@preact/signals').Signal<Session | null | undefined>}
 */
export const session = signal(undefined);

/** The session ended while a screen was in use: the screen stays, and a dialog asks to sign in again. */
export const hasEnded = signal(false);

const role = computed(() => session.value?.role);

/** Requests that go on when somebody has signed in. @type {(() => void)[]} */
let waiting = [];

/** Whether the signed-in role includes this one. @param {Role} required */
export function may(required) {
  return role.value !== undefined && RANK[role.value] >= RANK[required];
}

/**
 * Asks the server who is signed in. Throws `NoResponse` and problems other than 401.
 *
 * @param {{ timeoutMs?: number }} [options]
 */
export async function loadSession(options = {}) {
  try {
    session.value = await request('GET', '/session', options);
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) throw error;
    noteSessionEnd();
  }
}

/** @param {{ token: string } | { code: string }} credentials */
export async function signIn(credentials) {
  session.value = await request('POST', '/session', { body: credentials });
  hasEnded.value = false;
  const resumed = waiting;
  waiting = [];
  for (const resume of resumed) resume();
}

export async function signOut() {
  await request('DELETE', '/session', {
    headers: { 'X-CSRF-Token': session.value?.csrfToken ?? '' },
  });
  session.value = null;
}

/** The server has responded 401. */
export function noteSessionEnd() {
  if (session.value) hasEnded.value = true;
  else session.value = null;
}

/** Resolves when somebody has signed in again. */
export async function signedInAgain() {
  const { promise, resolve } = Promise.withResolvers();
  waiting.push(() => resolve(undefined));
  await promise;
}
