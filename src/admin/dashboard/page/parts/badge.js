/** States as words with a colour and a sign: the colour alone never says it. */
import { html } from '../core/html.js';

/** @typedef {'good' | 'warn' | 'bad' | 'quiet' | 'info'} Tone */

const SIGNS = { good: '●', warn: '▲', bad: '■', quiet: '○', info: '◆' };

/** @type {Record<string, Tone>} */
const SALE_TONES = {
  draft: 'quiet',
  scheduled: 'info',
  open: 'good',
  'sold-out': 'info',
  paused: 'warn',
  recovering: 'warn',
  unavailable: 'bad',
  ended: 'quiet',
  archived: 'quiet',
};

/** @type {Record<string, Tone>} */
const RESERVATION_TONES = {
  reserved: 'warn',
  confirmed: 'good',
  cancelled: 'quiet',
  expired: 'quiet',
};

/** @param {string} key */
export function toneOfSale(key) {
  return SALE_TONES[key] ?? 'quiet';
}

/** @param {{ tone: Tone, children: any }} props */
export function Badge({ tone, children }) {
  return html`<span class="badge ${tone}"
    ><span class="sign" aria-hidden="true">${SIGNS[tone]}</span> ${children}</span
  >`;
}

/** @param {{ status: string }} props */
export function ReservationBadge({ status }) {
  return html`<${Badge} tone=${RESERVATION_TONES[status] ?? 'quiet'}>${status}<//>`;
}
