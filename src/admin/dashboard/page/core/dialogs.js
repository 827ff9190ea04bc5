/** The dialog that is open. One at a time: a dialog never opens another one. */
import { signal } from '@preact/signals';

/** @type {import('@preact/signals').Signal<import('preact').ComponentChild>} */
export const openDialog = signal(null);

/** @param {import('preact').ComponentChild} content */
export function showDialog(content) {
  openDialog.value = content;
}

export function closeDialog() {
  openDialog.value = null;
}
