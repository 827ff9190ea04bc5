/** What operators did to a sale, newest first. */
import { pathOf } from '../core/api.js';
import { wordsOf } from '../core/format.js';
import { html } from '../core/html.js';
import { useListing } from '../core/listing.js';
import { Table, Time } from '../parts/facts.js';
import { ListingView } from '../parts/messages.js';
import { SaleScreen } from '../parts/sale-head.js';

/** @import { AuditEntry } from '../core/shapes.js' */

/** @param {{ saleId: string }} props */
export function AuditScreen({ saleId }) {
  const listing = useListing(pathOf('sales', saleId, 'audit'), { limit: 50 });
  return html`<${SaleScreen} saleId=${saleId} tab="audit" what="Audit">
    <${ListingView}
      listing=${listing}
      empty="No entry."
      render=${(/** @type {AuditEntry[]} */ rows) =>
        html`<${Table} caption="Audit entries" head=${['Time', 'Who', 'Action', 'Details', 'Request']}>
          ${rows.map(
            (entry) =>
              html`<tr key=${entry.auditId}>
                <td><${Time} at=${entry.occurredAt} /></td>
                <td><code>${entry.actor}</code></td>
                <th scope="row">${entry.action}</th>
                <td><${Details} details=${entry.details} /></td>
                <td><code class="breaks">${entry.requestId}</code></td>
              </tr>`,
          )}
        <//>`}
    />
  <//>`;
}

const SHOWN_CHARACTERS_MAX = 100;

/** Names and values; long ones on demand. @param {{ details: Record<string, unknown> }} props */
export function Details({ details }) {
  const all = Object.entries(details);
  if (all.length === 0) return null;
  const list = html`<dl class="pairs">
    ${all.map(([name, value]) => html`<div><dt>${wordsOf(name)}</dt><dd>${textOf(value)}</dd></div>`)}
  </dl>`;
  if (JSON.stringify(details).length <= SHOWN_CHARACTERS_MAX) return list;
  return html`<details>
    <summary>${all.map(([name]) => wordsOf(name)).join(', ')}</summary>
    ${list}
  </details>`;
}

/** @param {unknown} value */
function textOf(value) {
  if (typeof value !== 'string') return JSON.stringify(value);
  return /^[a-z]+(_[a-z]+)+$/.test(value) ? wordsOf(value) : value;
}
