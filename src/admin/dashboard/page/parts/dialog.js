/** Dialogs over the screen. The browser keeps the focus inside, closes them with Escape and gives the focus back. */

import { useSignal } from '@preact/signals';
import { useEffect, useId, useRef } from 'preact/hooks';
import { closeDialog, openDialog } from '../core/dialogs.js';
import { html } from '../core/html.js';
import { notify } from '../core/notices.js';
import { ErrorMessage } from './messages.js';

/** Shows the dialog that is open. */
export function DialogHost() {
  return openDialog.value;
}

/**
 * @param {object} props
 * @param {string} props.title
 * @param {() => void} [props.onClose] Absent: it cannot be closed by Escape.
 * @param {any} props.children
 */
export function Dialog({ title, onClose, children }) {
  const id = useId();
  const ref = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const element = ref.current;
    if (element && !element.open) element.showModal();
    return () => element?.close();
  }, []);
  const cancel = (/** @type {Event} */ event) => {
    event.preventDefault();
    onClose?.();
  };
  // Chrome closes a dialog at the second Escape without asking.
  const keepOpen = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === 'Escape') cancel(event);
  };
  return html`<dialog ref=${ref} aria-labelledby=${id} onCancel=${cancel} onKeyDown=${keepOpen}>
    <h2 id=${id}>${title}</h2>
    ${children}
  </dialog>`;
}

/**
 * Says what an action will do, in numbers, and does it when it is confirmed. A failed action can be repeated: it is the
 * same request with the same key.
 *
 * @param {object} props
 * @param {string} props.title
 * @param {string} props.confirm The button.
 * @param {'danger' | 'primary'} [props.tone]
 * @param {() => string | undefined} [props.obstacle] Why it cannot be confirmed yet.
 * @param {() => Promise<string | void>} props.run Returns the notice.
 * @param {any} props.children
 */
export function ActionDialog({ title, confirm, tone = 'primary', obstacle, run, children }) {
  const isBusy = useSignal(false);
  const error = useSignal(/** @type {Error | undefined} */ (undefined));
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (isBusy.value) return;
    const reason = obstacle?.();
    if (reason !== undefined) {
      error.value = new Error(reason);
      return;
    }
    isBusy.value = true;
    error.value = undefined;
    try {
      const text = await run();
      if (text) notify(text);
      closeDialog();
    } catch (failure) {
      error.value = /** @type {Error} */ (failure);
      isBusy.value = false;
    }
  };
  return html`<${Dialog} title=${title} onClose=${isBusy.value ? undefined : closeDialog}>
    <form onSubmit=${submit} novalidate>
      ${children}
      ${error.value && html`<${ErrorMessage} error=${error.value} />`}
      <div class="dialog-actions">
        <button type="button" onClick=${closeDialog} aria-disabled=${isBusy.value}>Go back</button>
        <button type="submit" class=${tone} aria-disabled=${isBusy.value}>
          ${isBusy.value ? 'Working…' : confirm}
        </button>
      </div>
    </form>
  <//>`;
}
