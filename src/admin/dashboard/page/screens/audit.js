/** What operators did to a sale, newest first. */
import { pathOf } from '../core/api.js';
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

/** Short ones in one line, long ones on demand. @param {{ details: Record<string, unknown> }} props */
export function Details({ details }) {
  const text = JSON.stringify(details, null, 1);
  if (text === '{}') return null;
  const short = JSON.stringify(details);
  if (short.length <= 60) return html`<code class="breaks">${short}</code>`;
  return html`<details>
    <summary>${Object.keys(details).join(', ')}</summary>
    <pre>${text}</pre>
  </details>`;
}
