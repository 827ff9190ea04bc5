/** Short messages about what was done. A live region reads them to screen readers, one at a time. */
import { signal } from '@preact/signals';

const SHOWN_MS = 8_000;
const NOTICES_MAX = 4;

/** @typedef {{ id: number, tone: 'good' | 'bad', text: string }} Notice */

/** @type {import('@preact/signals').Signal<Notice[]>} */
export const notices = signal([]);
let lastId = 0;

/** @param {string} text @param {Notice['tone']} [tone] */
export function notify(text, tone = 'good') {
  lastId += 1;
  const id = lastId;
  notices.value = [...notices.value, { id, tone, text }].slice(-NOTICES_MAX);
  setTimeout(() => dismiss(id), SHOWN_MS);
}

/** @param {number} id */
export function dismiss(id) {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}
