/** One sale, live: what it is doing, what uses its stock, how fast it decides, and whether all is well. */
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { saleOffsetMs, secondNow } from '../core/clock.js';
import { noteDecisions } from '../core/decision-history.js';
import { diagnoseSale } from '../core/diagnosis.js';
import {
  formatCount,
  formatDuration,
  formatMs,
  formatPercent,
  formatUnits,
} from '../core/format.js';
import { html } from '../core/html.js';
import { connection, pollSale, rowOf, totalsOf, watchLive } from '../core/live.js';
import { formatMoney } from '../core/money.js';
import { saleStateOf } from '../core/sale-state.js';
import { Countdown } from '../parts/countdown.js';
import { DecisionChart } from '../parts/decision-chart.js';
import { Facts, Time } from '../parts/facts.js';
import { Findings, ProcessTable, ServerList } from '../parts/health.js';
import { ErrorMessage, Loading } from '../parts/messages.js';
import { RecoveryStrip } from '../parts/recovery-strip.js';
import { ReservationTable } from '../parts/reservation-table.js';
import { SaleScreen } from '../parts/sale-head.js';
import { StockBar, StockLegend } from '../parts/stock-bar.js';
import { SaleActions, StockAction } from './sale-actions.js';

/** @import { Sale, SaleLive } from '../core/shapes.js' */

/** @param {{ saleId: string }} props */
export function SaleScreenLive({ saleId }) {
  const live = useSignal(/** @type {SaleLive | undefined} */ (undefined));
  const error = useSignal(/** @type {Error | undefined} */ (undefined));
  useEffect(() => {
    live.value = undefined;
    error.value = undefined;
    return watchLive({
      url: `/dashboard/live?saleId=${encodeURIComponent(saleId)}`,
      event: 'sale',
      poll: () => pollSale(saleId),
      onNumbers: (/** @type {SaleLive} */ numbers) => {
        live.value = numbers;
        noteDecisions(numbers);
      },
      onProblem: (problem) => {
        error.value = problem;
      },
    });
  }, [saleId]);
  const numbers = live.value;
  return html`<${SaleScreen}
    saleId=${saleId}
    name=${numbers?.sale.name}
    what="Live"
    beside=${numbers && html`<${SaleActions} sale=${numbers.sale} />`}
  >
    ${error.value && html`<${ErrorMessage} error=${error.value} />`}
    ${!numbers && !error.value && html`<${Loading} />`}
    ${numbers && html`<${LiveSale} numbers=${numbers} />`}
  <//>`;
}

/** @param {{ numbers: SaleLive }} props */
function LiveSale({ numbers }) {
  const { sale, decisions, latencyMs, processes, servers, newest, history } = numbers;
  const isOld = connection.value === 'stale' || connection.value === 'offline';
  return html`<div class="live ${isOld ? 'old' : ''}">
    <${StatePanel} numbers=${numbers} />
    <div class="live-main">
      <section class="card" aria-labelledby="stock-heading">
        <h2 id="stock-heading">Stock</h2>
        ${sale.skus.map((sku) => html`<${SkuStock} key=${sku.sku} sale=${sale} sku=${sku} />`)}
      </section>
      <section class="card" aria-labelledby="decisions-heading">
        <h2 id="decisions-heading">Decisions</h2>
        <${DecisionChart} decisions=${decisions} />
      </section>
    </div>
    <div class="live-side">
      <section class="card" aria-labelledby="speed-heading">
        <h2 id="speed-heading">Response times</h2>
        <${Latency} latencyMs=${latencyMs} isKnown=${decisions !== null} />
      </section>
      <section class="card" aria-labelledby="rows-heading">
        <h2 id="rows-heading">Rows in PostgreSQL</h2>
        <${Rows} sale=${sale} />
      </section>
      <section class="card" aria-labelledby="recoveries-heading">
        <h2 id="recoveries-heading">Recoveries</h2>
        <${RecoveryStrip} history=${history} since=${sale.createdAt} />
      </section>
      <section class="card" aria-labelledby="terms-heading">
        <h2 id="terms-heading">Terms</h2>
        <${Terms} sale=${sale} />
      </section>
    </div>
    <section class="card" aria-labelledby="newest-heading">
      <h2 id="newest-heading">Newest reservations</h2>
      ${
        newest.length === 0
          ? html`<p class="aside">No reservation yet.</p>`
          : html`<${ReservationTable} rows=${newest} caption="The ten newest" />`
      }
    </section>
    <section class="card" aria-labelledby="processes-heading">
      <h2 id="processes-heading">Processes and servers</h2>
      <${ServerList} servers=${servers} />
      <${ProcessTable} processes=${processes} />
    </section>
  </div>`;
}

/** @param {{ numbers: SaleLive }} props */
function StatePanel({ numbers }) {
  const { sale } = numbers;
  const now = secondNow.value + saleOffsetMs(sale);
  const totals = totalsOf(sale.skus);
  const state = saleStateOf({ ...rowOf(sale), archivedAt: sale.archivedAt }, now);
  const shareOf = (/** @type {number | null} */ units) =>
    totals.loaded && units !== null ? formatPercent(units / totals.loaded) : undefined;
  return html`<section class="state-panel ${state.key}" aria-labelledby="state-heading">
    <div class="state-words">
      <h2 id="state-heading" class="visually-hidden">State</h2>
      <p class="state-word">${state.word}</p>
      ${state.until && html`<p class="state-countdown"><${Countdown} until=${state.until} sale=${sale} /></p>`}
      <p class="state-sentence">${state.sentence}</p>
      <${Findings} findings=${diagnoseSale(numbers, secondNow.value)} />
    </div>
    <dl class="totals">
      <${Total} name="Confirmed" value=${totals.confirmed} aside=${shareOf(totals.confirmed)} />
      <${Total} name="Held" value=${totals.held} aside=${shareOf(totals.held)} />
      <${Total} name="Remaining" value=${totals.remaining} aside=${shareOf(totals.remaining)} />
      <${Total} name="Waiting" value=${totals.waiting} aside="buyers" />
    </dl>
  </section>`;
}

/** @param {{ name: string, value: number | null, aside?: string | undefined }} props */
function Total({ name, value, aside }) {
  return html`<div class="total ${name.toLowerCase()}">
    <dt>${name}</dt>
    <dd><span class="figure">${formatCount(value)}</span>${aside && html` <span class="share">${aside}</span>`}</dd>
  </div>`;
}

/** @param {{ sale: Sale, sku: Sale['skus'][number] }} props */
function SkuStock({ sale, sku }) {
  return html`<div class="sku">
    <div class="sku-head">
      <h3>${sku.name} <code>${sku.sku}</code></h3>
      <span class="price">${formatMoney(sku.price, sale.currency)}</span>
      <${StockAction} sale=${sale} sku=${sku} />
    </div>
    <div class="sku-bar">
      <${StockBar} counts=${sku} name=${sku.name} />
      ${sku.waiting ? html`<span class="waitlist" aria-hidden="true">+${formatCount(sku.waiting)} waiting</span>` : null}
    </div>
    <${StockLegend} counts=${sku} />
    ${
      sku.tooFewForWaitlist
        ? html`<p class="aside">${formatUnits(sku.tooFewForWaitlist, 'remaining unit is', 'remaining units are')} too few for everyone who waits, so everybody can buy them.</p>`
        : null
    }
  </div>`;
}

/** @param {{ latencyMs: SaleLive['latencyMs'], isKnown: boolean }} props */
function Latency({ latencyMs, isKnown }) {
  if (!isKnown) return html`<p class="aside">Unknown without the live numbers.</p>`;
  if (!latencyMs) return html`<p class="aside">No purchase in the last seconds.</p>`;
  return html`<${Facts}
    facts=${[
      ['Half of the buyers', html`<span class="figure">${formatMs(latencyMs.p50)}</span>`],
      ['9 of 10', formatMs(latencyMs.p90)],
      ['99 of 100', formatMs(latencyMs.p99)],
      ['Slowest', formatMs(latencyMs.max)],
    ]}
  />`;
}

/** @param {{ sale: Sale }} props */
function Rows({ sale: { persister } }) {
  const { lag, events, checkpoint } = persister;
  return html`<${Facts}
    facts=${[
      ['Events behind', html`<span class="figure">${formatCount(lag)}</span>`],
      ['Events so far', formatCount(events)],
      ['Last write', html`<${Time} at=${checkpoint?.updatedAt} />`],
    ]}
  />`;
}

/** @param {{ sale: Sale }} props */
function Terms({ sale }) {
  return html`<${Facts}
    facts=${[
      ['Id', html`<code>${sale.saleId}</code>`],
      ['Starts', sale.startsAt ? html`<${Time} at=${sale.startsAt} />` : 'when it is opened'],
      ['Ends', sale.endsAt ? html`<${Time} at=${sale.endsAt} />` : 'when it is ended'],
      ['Units for each buyer', formatCount(sale.perBuyerLimit)],
      ['A hold lasts', formatDuration(sale.holdSeconds)],
      ['From the waitlist', formatDuration(sale.waitlistHoldSeconds)],
      ['Currency', sale.currency],
      ['Created', html`<${Time} at=${sale.createdAt} />`],
    ]}
  />`;
}
