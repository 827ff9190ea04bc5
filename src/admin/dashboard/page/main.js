/** The dashboard: signs in, then lists the sales. */

import { signal } from '@preact/signals';
import htm from 'htm';
import { h, render } from 'preact';
import { call, resumeSession, session, signIn, signOut } from './api.js';

const html = htm.bind(h);
const message = signal('');
const sales = signal(/** @type {{ saleId: string, name: string, status: string }[]} */ ([]));

/** @param {() => Promise<void>} work */
async function attempt(work) {
  message.value = '';
  try {
    await work();
  } catch (problem) {
    const { detail } = /** @type {{ detail?: string }} */ (problem);
    message.value = detail ?? 'The dashboard cannot reach admin.';
  }
}

async function showSales() {
  sales.value = (await call('GET', '/sales')).data;
}

/** @param {SubmitEvent} event */
function submitToken(event) {
  event.preventDefault();
  const input = /** @type {HTMLInputElement} */ (document.getElementById('token'));
  void attempt(async () => {
    await signIn({ token: input.value.trim() });
    await showSales();
  });
}

function SignIn() {
  return html`<form onSubmit=${submitToken}>
    <label for="token">Token</label>
    <input id="token" name="token" type="password" autocomplete="current-password" required />
    <button>Sign in</button>
  </form>`;
}

function Sales() {
  return html`<p>
      Signed in as ${session.value?.actor}.${' '}
      <button onClick=${() => attempt(signOut)}>Sign out</button>
    </p>
    <ul>
      ${sales.value.map(({ saleId, name, status }) => html`<li key=${saleId}>${name}: ${status}</li>`)}
    </ul>`;
}

function App() {
  if (session.value === undefined) return null;
  return html`<h1>flash-sale</h1>
    <p role="alert">${message}</p>
    ${session.value ? html`<${Sales} />` : html`<${SignIn} />`}`;
}

await attempt(async () => {
  const [, code] = /^#\/sign-in\/(.+)$/.exec(location.hash) ?? [];
  if (code !== undefined) {
    // The code works once: it must neither stay in the address nor in the history.
    history.replaceState(null, '', '#/');
    await signIn({ code }).catch(async (problem) => {
      await resumeSession();
      throw problem;
    });
  } else {
    await resumeSession();
  }
  if (session.value) await showSales();
});
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById('app')));
