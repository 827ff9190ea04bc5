/** The recoveries of a sale with their reports, newest first. */
import { pathOf } from '../core/api.js';
import { wordsOf } from '../core/format.js';
import { html } from '../core/html.js';
import { useListing, useResource } from '../core/listing.js';
import { may } from '../core/session.js';
import { Badge } from '../parts/badge.js';
import { Table, Time } from '../parts/facts.js';
import { ListingView } from '../parts/messages.js';
import { SaleScreen } from '../parts/sale-head.js';
import { Details } from './audit.js';
import { ActionButton } from './sale-actions.js';

/** @import { Recovery } from '../core/shapes.js' */
/** @import { Tone } from '../parts/badge.js' */

/** @type {Record<string, Tone>} */
const TONES = { renewed: 'good', rebuilt: 'good', removed: 'quiet', blocked: 'bad' };

/** @param {{ saleId: string }} props */
export function RecoveriesScreen({ saleId }) {
  const listing = useListing(pathOf('sales', saleId, 'recoveries'), { limit: 50 });
  const sale = useResource(pathOf('sales', saleId)).value;
  const canRecover = may('operator') && sale && !sale.archivedAt && sale.status !== 'draft';
  return html`<${SaleScreen} saleId=${saleId} name=${sale?.name} tab="recoveries" what="Recoveries" beside=${canRecover && html`<${ActionButton} action="recover" sale=${sale} />`}>
    <p class="lead">
      A sale closes by itself when its Redis restarts or loses data, and a persister recovers it. A recovery that is
      blocked says why, and waits for an operator.
    </p>
    <p><button type="button" onClick=${listing.reload}>Refresh</button></p>
    <${ListingView}
      listing=${listing}
      empty="No recovery since the sale exists."
      render=${(/** @type {Recovery[]} */ rows) =>
        html`<${Table} caption="Recoveries" head=${['Outcome', 'Requested', 'Finished', 'By', 'Report']}>
          ${rows.map(
            ({ recoveryId, outcome, requestedAt, finishedAt, actor, report }) =>
              html`<tr key=${recoveryId}>
                <th scope="row">
                  <${Badge} tone=${outcome ? (TONES[outcome] ?? 'quiet') : 'warn'}>${outcome ?? 'in progress'}<//>
                </th>
                <td><${Time} at=${requestedAt} /></td>
                <td><${Time} at=${finishedAt} /></td>
                <td><code>${actor}</code></td>
                <td>
                  ${typeof report.cause === 'string' && html`<p>${wordsOf(report.cause)}</p>`}
                  ${typeof report.why === 'string' && html`<p>${report.why}</p>`}
                  <${Details} details=${report} />
                </td>
              </tr>`,
          )}
        <//>`}
    />
  <//>`;
}
