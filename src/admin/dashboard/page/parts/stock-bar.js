/** What uses the stock of a SKU: one bar of confirmed, held and remaining units, with the waitlist beside it. */
import { formatCount, formatPercent, formatUnits } from '../core/format.js';
import { html } from '../core/html.js';

/** @typedef {{ loaded: number | null, remaining: number | null, held: number | null, confirmed: number | null, waiting: number | null }} Counts */

/** @type {['confirmed' | 'held' | 'remaining', string][]} */
const PARTS = [
  ['confirmed', 'confirmed'],
  ['held', 'held'],
  ['remaining', 'remaining'],
];

/** @param {{ counts: Counts, name: string }} props */
export function StockBar({ counts, name }) {
  const { loaded, confirmed, held, remaining, waiting } = counts;
  if (loaded === null) {
    return html`<div class="stock-bar unknown" role="img" aria-label="${name}: counts unknown"></div>`;
  }
  const label = `${name}: ${formatCount(confirmed)} confirmed, ${formatCount(held)} held, ${formatCount(remaining)} remaining of ${formatCount(loaded)} loaded; ${formatCount(waiting)} waiting`;
  const widthOf = (/** @type {number | null} */ units) =>
    loaded === 0 ? '0%' : `${(100 * (units ?? 0)) / loaded}%`;
  return html`<div class="stock-bar" role="img" aria-label=${label}>
    ${PARTS.map(([part]) => {
      const units = counts[part];
      return units ? html`<span class=${part} style=${{ width: widthOf(units) }}></span>` : null;
    })}
  </div>`;
}

/** The same in numbers, which also explains the colours. @param {{ counts: Counts }} props */
export function StockLegend({ counts }) {
  const { loaded, waiting } = counts;
  return html`<ul class="stock-legend">
    ${PARTS.map(
      ([part, word]) =>
        html`<li>
          <span class="swatch ${part}" aria-hidden="true"></span>
          <span class="number">${formatCount(counts[part])}</span> ${word}
          ${loaded ? html` <span class="share">${formatPercent((counts[part] ?? 0) / loaded)}</span>` : null}
        </li>`,
    )}
    ${
      waiting
        ? html`<li>
            <span class="swatch waiting" aria-hidden="true"></span>
            <span class="number">${formatCount(waiting)}</span> ${waiting === 1 ? 'buyer waits' : 'buyers wait'}
          </li>`
        : null
    }
    <li class="of">of <span class="number">${formatUnits(loaded, 'unit')}</span></li>
  </ul>`;
}
