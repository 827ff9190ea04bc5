/** Signing in with a token, or with the code of a link that works once. */
import { useSignal } from '@preact/signals';
import { useEffect, useRef, useState } from 'preact/hooks';
import { html } from '../core/html.js';
import { replaceRoute, route } from '../core/router.js';
import { signIn } from '../core/session.js';
import { Dialog } from '../parts/dialog.js';
import { Field } from '../parts/field.js';
import { ErrorMessage, Loading } from '../parts/messages.js';
import { Screen } from '../parts/screen.js';

/** The whole screen, before anything else can be seen. */
export function SignInScreen() {
  // Of the address that the page was opened with: the code leaves the address as soon as it is used.
  const [code] = useState(() => {
    const { segments } = route.peek();
    return segments[0] === 'sign-in' ? segments[1] : undefined;
  });
  return html`<main class="sign-in" id="main" tabindex="-1">
    <${Screen} title="Sign in" heading=${html`<span aria-hidden="true">⚡</span> flash-sale`}>
      ${code === undefined ? html`<${TokenForm} />` : html`<${CodeSignIn} code=${code} />`}
    <//>
  </main>`;
}

/** Over the screen whose session has ended. */
export function SignInDialog() {
  return html`<${Dialog} title="Your session has ended">
    <p>Sign in again to go on where you were. Nothing that you typed is lost.</p>
    <${TokenForm} />
  <//>`;
}

function TokenForm() {
  const token = useSignal('');
  const isBusy = useSignal(false);
  const error = useSignal(/** @type {Error | undefined} */ (undefined));
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (isBusy.value) return;
    if (token.value.trim() === '') {
      error.value = new Error('Enter a token.');
      return;
    }
    isBusy.value = true;
    error.value = undefined;
    try {
      await signIn({ token: token.value.trim() });
    } catch (failure) {
      const { status } = /** @type {any} */ (failure);
      error.value =
        status === 401
          ? new Error('The admin does not know this token.')
          : /** @type {Error} */ (failure);
    }
    isBusy.value = false;
  };
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  useEffect(() => form.current?.querySelector('input')?.focus(), []);
  return html`<form ref=${form} onSubmit=${submit} novalidate>
    <${Field}
      label="Token"
      type="password"
      required
      value=${token.value}
      onInput=${(/** @type {string} */ value) => {
        token.value = value;
      }}
      hint="A token of ADMIN_TOKENS. npm start and npm run demo print a link that signs you in."
      attributes=${{ name: 'token', autocomplete: 'current-password', spellcheck: false }}
    />
    ${error.value && html`<${ErrorMessage} error=${error.value} />`}
    <button type="submit" class="primary" aria-disabled=${isBusy.value}>
      ${isBusy.value ? 'Signing in…' : 'Sign in'}
    </button>
  </form>`;
}

/** @param {{ code: string }} props */
function CodeSignIn({ code }) {
  const hasFailed = useSignal(false);
  const error = useSignal(/** @type {Error | undefined} */ (undefined));
  const attempt = async () => {
    error.value = undefined;
    try {
      await signIn({ code });
      // Nothing of the code stays in the browser's history.
      replaceRoute('#/');
    } catch (failure) {
      if (/** @type {any} */ (failure).status === 401) {
        replaceRoute('#/');
        hasFailed.value = true;
      } else {
        error.value = /** @type {Error} */ (failure);
      }
    }
  };
  useEffect(() => void attempt(), []);
  if (error.value) return html`<${ErrorMessage} error=${error.value} onRetry=${attempt} />`;
  if (hasFailed.value) return html`<${UsedLink} />`;
  return html`<${Loading} what="Signing in…" />`;
}

function UsedLink() {
  return html`
    <div class="message bad" role="alert">
      <p>This link does not work any more: it works once, for five minutes, and only while Redis keeps its memory. Use a token instead.</p>
    </div>
    <${TokenForm} />
  `;
}
