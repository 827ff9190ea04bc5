/** The recoveries of a sale as a strip over time, from its creation until now, with the same in words below. */
import { secondNow } from '../core/clock.js';
import { formatDuration, formatTime, wordsOf } from '../core/format.js';
import { html } from '../core/html.js';
import { Time } from './facts.js';

/** @import { History, RecoveryRow } from '../core/shapes.js' */

/** A recovery is short; on the strip it is at least this wide, in percent. */
const WIDTH_MIN = 0.8;
const SPAN_MS_MIN = 60_000;
const SHOWN_MAX = 5;

const RESULTS = /** @type {Record<string, string>} */ ({
  renewed: 'Redis had lost nothing',
  rebuilt: 'rebuilt from PostgreSQL',
  removed: 'removed: nothing had been applied',
  blocked: 'blocked: an operator must act',
  requested: 'in progress',
});

/** @param {{ history: History | null, since: string }} props */
export function RecoveryStrip({ history, since }) {
  if (!history) return html`<p class="aside">Unknown without the live numbers.</p>`;
  const { recoveries, fence, timeline } = history;
  const now = secondNow.value;
  const first = Math.min(Date.parse(since), now - SPAN_MS_MIN);
  const at = (/** @type {number} */ ms) => Math.max(0, (100 * (ms - first)) / (now - first));
  return html`<div class="strip">
    <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
      <rect class="open" x="0" y="2" width="100" height="6" />
      ${recoveries.map((recovery) => {
        const start = at(Date.parse(recovery.startedAt));
        const end = at(recovery.endedAt === null ? now : Date.parse(recovery.endedAt));
        const width = Math.max(WIDTH_MIN, end - start);
        const kind = recovery.endedAt === null ? 'running' : (recovery.result ?? 'rebuilt');
        return html`<rect class=${kind} x=${Math.min(start, 100 - width)} y="0" width=${width} height="10" />`;
      })}
    </svg>
    <div class="strip-ends aside"><span>${formatTime(first)}</span><span>now</span></div>
    <p class="aside">
      ${timeline !== undefined && timeline !== null ? html`Timeline <code>${timeline}</code>${' · '}` : null}
      fence ${fence ? html`<code title=${fence}>${fence.slice(0, 8)}</code>` : 'not set'}
    </p>
    ${
      recoveries.length === 0
        ? html`<p class="aside">No recovery since the sale exists.</p>`
        : html`<ol class="strip-list">
            ${recoveries.slice(0, SHOWN_MAX).map((recovery) => html`<li><${RecoveryLine} recovery=${recovery} /></li>`)}
          </ol>`
    }
  </div>`;
}

/** @param {{ recovery: RecoveryRow }} props */
function RecoveryLine({ recovery }) {
  const { startedAt, endedAt, result, reason } = recovery;
  const seconds = endedAt === null ? null : (Date.parse(endedAt) - Date.parse(startedAt)) / 1_000;
  const words = result ? (RESULTS[result] ?? result) : 'in progress';
  return html`<${Time} at=${startedAt} format=${formatTime} />${' '}
    <strong>${words}</strong>
    ${seconds !== null && (seconds < 1 ? ', in less than a second' : `, in ${formatDuration(seconds)}`)}
    ${reason && html` <span class="aside">(${wordsOf(reason)})</span>`}`;
}
