/** Decisions a second by outcome, as stacked areas of the last two minutes, with the numbers of now beside them. */
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { OUTCOMES, ratesOf, samples } from '../core/decision-history.js';
import { formatCompact, formatCount, formatPercent, formatTime } from '../core/format.js';
import { html } from '../core/html.js';

/** @import { Sample } from '../core/decision-history.js' */

const SPAN_SECONDS = 120;
const HEIGHT_REM = 11.25;
/** The steps of the axis: 1, 2, 5, 10, 20, … decisions a second. */
const STEPS = [0, 1, 2, 3, 4, 5, 6].flatMap((power) => [1, 2, 5].map((step) => step * 10 ** power));

const WORDS = {
  reserved: 'reserved',
  replayed: 'repeated requests',
  sold_out: 'sold out',
  insufficient_stock: 'not enough left',
  limit_reached: 'limit reached',
  other: 'other refusals',
};

/** @param {{ decisions: import('../core/shapes.js').SaleLive['decisions'] }} props */
export function DecisionChart({ decisions }) {
  const holder = useRef(/** @type {HTMLDivElement | null} */ (null));
  useEffect(() => (holder.current ? draw(holder.current) : undefined), []);
  const rates = decisions ? ratesOf(decisions.perSecond) : undefined;
  const totals = decisions ? ratesOf(decisions.total) : undefined;
  const total = rates && OUTCOMES.reduce((sum, outcome) => sum + rates[outcome], 0);
  return html`<figure class="chart">
    <figcaption>
      <span class="figure">${formatCompact(total)}</span> decisions a second
      ${
        decisions && total
          ? html`<span class="aside">
              ${formatCompact(decisions.withoutRedisPerSecond)} of them without Redis
              (${formatPercent(decisions.withoutRedisPerSecond / total)})
            </span>`
          : null
      }
    </figcaption>
    <div class="plot" ref=${holder} aria-hidden="true"></div>
    <ul class="chart-legend">
      ${OUTCOMES.map(
        (outcome) =>
          html`<li>
            <span class="swatch ${outcome}" aria-hidden="true"></span>
            <span class="number">${formatCompact(rates?.[outcome])}/s</span> ${WORDS[outcome]}
            ${totals?.[outcome] ? html`<span class="aside">${formatCount(totals[outcome])} in all</span>` : null}
          </li>`,
      )}
      <li><span class="swatch line" aria-hidden="true"></span> <span class="number">${formatCompact(decisions?.withoutRedisPerSecond)}/s</span> without Redis</li>
    </ul>
  </figure>`;
}

/** @param {HTMLDivElement} holder */
function draw(holder) {
  const scheme = matchMedia('(prefers-color-scheme: dark)');
  let plot = plotIn(holder);
  const resize = new ResizeObserver(() => {
    if (holder.clientWidth > 0)
      plot.setSize({ width: holder.clientWidth, height: HEIGHT_REM * remPx() });
  });
  resize.observe(holder);
  const recolour = () => {
    plot.destroy();
    plot = plotIn(holder);
  };
  scheme.addEventListener('change', recolour);
  const stop = samples.subscribe((current) => plot.setData(stackedOf(current)));
  return () => {
    stop();
    resize.disconnect();
    scheme.removeEventListener('change', recolour);
    plot.destroy();
  };
}

/** Text is larger on large screens. */
function remPx() {
  return Number.parseFloat(getComputedStyle(document.documentElement).fontSize);
}

/** @param {HTMLDivElement} holder */
function plotIn(holder) {
  const rem = remPx();
  const style = getComputedStyle(holder);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  const axis = {
    stroke: colour('--text-quiet'),
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { show: false },
    font: `${0.75 * rem}px ${style.fontFamily}`,
  };
  return new uPlot(
    {
      width: Math.max(holder.clientWidth, 200),
      height: HEIGHT_REM * rem,
      padding: [0.5 * rem, 1.75 * rem, 0, 0],
      legend: { show: false },
      cursor: { show: false },
      scales: {
        x: { range: (_plot, _min, max) => [max - SPAN_SECONDS, max] },
        y: { range: (_plot, _min, max) => [0, Math.max(10, max * 1.1)] },
      },
      axes: [
        {
          ...axis,
          size: 1.75 * rem,
          space: 6 * rem,
          values: (_plot, ticks) => ticks.map((tick) => formatTime(tick * 1_000)),
        },
        {
          ...axis,
          size: 3.25 * rem,
          incrs: STEPS,
          values: (_plot, ticks) => ticks.map((tick) => formatCompact(tick)),
        },
      ],
      series: [
        {},
        // From the top of the stack down: each area covers the lower part of the one before.
        ...OUTCOMES.toReversed().map((outcome) => ({
          fill: colour(`--outcome-${outcome.replaceAll('_', '-')}`),
          width: 0,
          points: { show: false },
        })),
        { stroke: colour('--text'), width: 1.5, dash: [4, 3], points: { show: false } },
      ],
    },
    stackedOf(samples.peek()),
    holder,
  );
}

/** @param {Sample[]} current @returns {uPlot.AlignedData} */
function stackedOf(current) {
  const times = current.map(({ atMs }) => atMs / 1_000);
  const heights = OUTCOMES.map((_outcome, index) =>
    current.map(({ rates }) =>
      rates === null
        ? null
        : OUTCOMES.slice(0, index + 1).reduce((sum, outcome) => sum + rates[outcome], 0),
    ),
  );
  return [times, ...heights.toReversed(), current.map(({ withoutRedis }) => withoutRedis)];
}
