/** All sales at a glance: state, countdown, and how much of the stock is sold. */
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { saleOffsetMs, secondNow } from '../core/clock.js';
import { diagnoseProcesses, diagnoseServers } from '../core/diagnosis.js';
import { formatCount, formatPercent, formatUnits } from '../core/format.js';
import { html } from '../core/html.js';
import { useListing } from '../core/listing.js';
import { pollOverview, rowOf, watchLive } from '../core/live.js';
import { linkTo, navigate, route } from '../core/router.js';
import { saleStateOf } from '../core/sale-state.js';
import { may } from '../core/session.js';
import { Badge, toneOfSale } from '../parts/badge.js';
import { Countdown } from '../parts/countdown.js';
import { Field } from '../parts/field.js';
import { Findings } from '../parts/health.js';
import { ListingView, Loading } from '../parts/messages.js';
import { Screen } from '../parts/screen.js';
import { StockBar } from '../parts/stock-bar.js';

/** @import { Overview, SaleRow } from '../core/shapes.js' */

/** @type {Record<string, string>} */
const FILTERS = {
  current: 'Current',
  drafts: 'Drafts',
  ended: 'Ended',
  all: 'All',
  archived: 'Archived',
};

export function SalesScreen() {
  const overview = useSignal(/** @type {Overview | undefined} */ (undefined));
  const search = useSignal('');
  const filter = route.value.query.get('show') ?? 'current';
  useEffect(
    () =>
      watchLive({
        url: '/dashboard/live',
        event: 'overview',
        poll: pollOverview,
        onNumbers: (numbers) => {
          overview.value = numbers;
        },
        onProblem: () => {},
      }),
    [],
  );
  const beside =
    may('operator') &&
    html`<a class="button primary" href=${linkTo(['new-sale'])}>Create a sale</a>`;
  return html`<${Screen} title="Sales" beside=${beside}>
    ${overview.value && html`<${SystemHealth} overview=${overview.value} />`}
    <div class="filters">
      <div class="choices" role="group" aria-label="Which sales">
        ${Object.entries(FILTERS).map(
          ([key, text]) =>
            html`<a href=${linkTo(['sales'], { show: key === 'current' ? undefined : key })} aria-current=${key === filter ? 'true' : undefined}
              >${text}</a
            >`,
        )}
      </div>
      <${Field}
        label="Name or id"
        type="search"
        saysOptional=${false}
        value=${search.value}
        onInput=${(/** @type {string} */ text) => {
          search.value = text;
        }}
      />
    </div>
    ${
      filter === 'archived'
        ? html`<${ArchivedSales} search=${search.value} />`
        : html`<${CurrentSales} overview=${overview.value} filter=${filter} search=${search.value} />`
    }
  <//>`;
}

/** @param {{ overview: Overview }} props */
function SystemHealth({ overview: { processes, servers } }) {
  if (!processes || !servers) return null;
  const findings = [
    ...diagnoseServers(servers),
    ...diagnoseProcesses(processes, servers, secondNow.value),
  ];
  const countOf = (/** @type {string} */ kind) =>
    processes.filter(({ process, ready }) => process === kind && ready).length;
  return html`<section class="card health-line" aria-label="Health">
    <${Findings} findings=${findings} />
    <p class="aside">
      ${formatUnits(countOf('hot-path'), 'hot path')} and ${formatUnits(countOf('persister'), 'persister')} ready,
      Redis ${servers.redis.ok ? 'available' : 'unavailable'}, PostgreSQL ${servers.postgres.ok ? 'available' : 'unavailable'}
    </p>
  </section>`;
}

/** @param {{ overview: Overview | undefined, filter: string, search: string }} props */
function CurrentSales({ overview, filter, search }) {
  if (!overview) return html`<${Loading} />`;
  const now = secondNow.value;
  const shown = overview.sales
    .filter((sale) => isFound(sale, search))
    .filter((sale) => belongsTo(filter, saleStateOf(sale, now).key));
  if (overview.sales.length === 0) return html`<${NoSales} />`;
  return html`
    ${
      shown.length === 0
        ? html`<p class="empty">No sale matches.</p>`
        : html`<${SaleCards} sales=${shown} />`
    }
    ${
      overview.moreSales
        ? html`<p class="aside">${formatUnits(overview.moreSales, 'older sale is', 'older sales are')} not shown.</p>`
        : null
    }
  `;
}

/** @param {{ search: string }} props */
function ArchivedSales({ search }) {
  const listing = useListing('/sales', { archived: 'true', limit: 50 });
  return html`<${ListingView}
    listing=${listing}
    empty="No sale is archived yet. An ended sale is archived some days after its end."
    render=${(/** @type {any[]} */ rows) => html`<${SaleCards} sales=${rows.map(rowOf).filter((sale) => isFound(sale, search))} />`}
  />`;
}

function NoSales() {
  return html`<div class="empty">
    <p>There is no sale yet.</p>
    ${
      may('operator')
        ? html`<p>
            <button type="button" class="primary" onClick=${() => navigate(linkTo(['new-sale']))}>
              Create the first sale
            </button>
          </p>`
        : html`<p>An operator can create one.</p>`
    }
  </div>`;
}

/** @param {{ sales: SaleRow[] }} props */
function SaleCards({ sales }) {
  return html`<ul class="sale-cards">
    ${sales.map((sale) => html`<li key=${sale.saleId}><${SaleCard} sale=${sale} /></li>`)}
  </ul>`;
}

/** @param {{ sale: SaleRow }} props */
function SaleCard({ sale }) {
  const state = saleStateOf(sale, secondNow.value + saleOffsetMs({}));
  const { loaded, confirmed, held } = sale;
  // A hold is a sale that the buyer has yet to pay: its units are gone unless it ends.
  const sold = confirmed === null || held === null ? null : confirmed + held;
  const isRising = state.key === 'open' || state.key === 'sold-out';
  return html`<article class="sale-card ${state.key}">
    <h2><a href=${linkTo(['sales', sale.saleId])}>${sale.name}</a></h2>
    <p class="sale-id"><code>${sale.saleId}</code></p>
    <p class="sale-state">
      <${Badge} tone=${toneOfSale(state.key)}>${state.word}<//>
      ${state.until && html`<${Countdown} until=${state.until} />`}
    </p>
    <div class="sale-stock">
      <${StockBar} counts=${sale} name=${sale.name} />
      <p>
        <strong class="number">${formatCount(sold)}</strong> of${' '}
        <span class="number">${formatUnits(loaded, 'unit')}</span> sold
        ${loaded && sold !== null ? html` <span class="share">${formatPercent(sold / loaded)}</span>` : null}
        ${held ? html`, <span class="number">${formatCount(held)}</span> of them held` : null}
        ${isRising && sale.waiting ? html`, <span class="number">${formatCount(sale.waiting)}</span> waiting` : null}
      </p>
    </div>
  </article>`;
}

/** @param {SaleRow} sale @param {string} search */
function isFound({ saleId, name }, search) {
  const text = search.trim().toLowerCase();
  return text === '' || saleId.includes(text) || name.toLowerCase().includes(text);
}

/** @param {string} filter @param {string} key */
function belongsTo(filter, key) {
  if (filter === 'drafts') return key === 'draft';
  if (filter === 'ended') return key === 'ended';
  return filter === 'all' || key !== 'ended';
}
