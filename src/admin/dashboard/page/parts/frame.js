/** What is around every screen: the bar with navigation and session, warnings about the connection, notices. */
import { browserAheadMs, isServerTimeKnown, secondNow } from '../core/clock.js';
import { formatDuration, formatTime } from '../core/format.js';
import { html } from '../core/html.js';
import { connection, lastNumbersAt } from '../core/live.js';
import { dismiss, notices, notify } from '../core/notices.js';
import { linkTo, route } from '../core/router.js';
import { may, session, signOut } from '../core/session.js';

const CLOCK_DIFFERENCE_MS = 5_000;

/** @type {[string, string, import('../core/shapes.js').Role][]} */
const PLACES = [
  ['sales', 'Sales', 'viewer'],
  ['reservations', 'Reservations', 'viewer'],
  ['dead-letters', 'Dead letters', 'viewer'],
  ['webhooks', 'Webhooks', 'operator'],
];

/** @param {{ children: any }} props */
export function Frame({ children }) {
  return html`
    <a class="skip" href="#main" onClick=${skipToMain}>Skip to content</a>
    <header class="bar">
      <a class="brand" href=${linkTo([])}><span aria-hidden="true">⚡</span> flash-sale</a>
      <nav aria-label="Main">
        <ul>
          ${PLACES.filter(([, , role]) => may(role)).map(([path, text]) => {
            const isHere = placeOf(route.value.segments[0]) === path;
            return html`<li><a href=${linkTo([path])} aria-current=${isHere ? 'page' : undefined}>${text}</a></li>`;
          })}
          <li><a href="/docs">API</a></li>
        </ul>
      </nav>
      <div class="bar-end">
        <${Clock} />
        <${Account} />
      </div>
    </header>
    <${ConnectionBanner} />
    <main id="main" tabindex="-1">${children}</main>
    <${Notices} />
  `;
}

/** @param {string | undefined} segment */
function placeOf(segment) {
  return segment === undefined || segment === 'new-sale' ? 'sales' : segment;
}

/** A link to `#main` would change the address of the screen. @param {Event} event */
function skipToMain(event) {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function Clock() {
  if (!isServerTimeKnown.value) return null;
  return html`<span class="clock" title="The server's time">
    <span class="visually-hidden">Server time </span>${formatTime(secondNow.value)}
  </span>`;
}

function Account() {
  const current = session.value;
  if (!current) return null;
  const leave = () => {
    signOut().catch((error) => notify(error.message, 'bad'));
  };
  return html`<span class="account">
    <span title=${current.actor}>${current.role}</span>
    <button type="button" class="quiet" onClick=${leave}>Sign out</button>
  </span>`;
}

/** Says why the numbers may be old. The region exists all the time, so that screen readers notice its changes. */
function ConnectionBanner() {
  const texts = [connectionText(), clockText()].filter((text) => text !== undefined);
  return html`<div class="banners" role="status">
    ${texts.map((text) => html`<p class="banner">${text}</p>`)}
  </div>`;
}

function connectionText() {
  const since = lastNumbersAt.value;
  const shown = since === undefined ? '' : ` What you see is ${ageText(since)} old.`;
  switch (connection.value) {
    case 'offline':
      return `Offline: the admin does not respond.${shown} Buying does not depend on this page. It connects again by itself.`;
    case 'stale':
      return `The live numbers have stopped.${shown} Connecting again…`;
    case 'polling':
      return 'Live numbers are not available: the page asks for new ones every few seconds.';
    default:
      return undefined;
  }
}

/** In steps of five seconds: a screen reader reads each change. @param {number} sinceMs */
function ageText(sinceMs) {
  // Read, so that the text is renewed.
  void secondNow.value;
  const seconds = Math.max(5, 5 * Math.floor((performance.now() - sinceMs) / 5_000));
  return formatDuration(seconds);
}

function clockText() {
  if (!isServerTimeKnown.value) return undefined;
  void secondNow.value;
  const ahead = browserAheadMs();
  if (Math.abs(ahead) < CLOCK_DIFFERENCE_MS) return undefined;
  const side = ahead > 0 ? 'ahead of' : 'behind';
  return `The clock of this device is ${formatDuration(Math.abs(ahead) / 1_000)} ${side} the server's. The page shows the server's time.`;
}

function Notices() {
  return html`<div class="notices" role="status" aria-label="Messages">
    ${notices.value.map(
      ({ id, tone, text }) =>
        html`<div class="notice ${tone}" key=${id}>
          <span>${text}</span>
          <button type="button" class="quiet" aria-label="Dismiss" onClick=${() => dismiss(id)}>×</button>
        </div>`,
    )}
  </div>`;
}
