/** Time until a moment, by the clock of the sale. */
import { saleOffsetMs, secondNow } from '../core/clock.js';
import { formatCountdown } from '../core/format.js';
import { html } from '../core/html.js';

/** @param {{ until: { at: string, label: string }, sale?: any }} props */
export function Countdown({ until, sale = {} }) {
  const leftMs = Date.parse(until.at) - (secondNow.value + saleOffsetMs(sale));
  // No live region: a screen reader would read it every second.
  return html`<span class="countdown">
    <span class="countdown-label">${until.label}</span>${' '}
    <span class="countdown-time" role="timer">${formatCountdown(leftMs)}</span>
  </span>`;
}
