/** One webhook endpoint with its deliveries. */
import { change, pathOf } from '../core/api.js';
import { showDialog } from '../core/dialogs.js';
import { formatCount, formatUnits } from '../core/format.js';
import { html } from '../core/html.js';
import { useListing } from '../core/listing.js';
import { linkTo, navigate, route } from '../core/router.js';
import { Badge } from '../parts/badge.js';
import { ActionDialog } from '../parts/dialog.js';
import { Facts, Table, Time } from '../parts/facts.js';
import { ErrorMessage, ListingView, Loading } from '../parts/messages.js';
import { Breadcrumbs, Screen } from '../parts/screen.js';
import { showSecret, WEBHOOK_TONES } from './webhooks.js';

/** @import { Delivery, Webhook } from '../core/shapes.js' */
/** @import { Tone } from '../parts/badge.js' */

/** @type {Record<Delivery['state'], Tone>} */
const DELIVERY_TONES = { pending: 'warn', delivered: 'good', dead: 'bad' };
const WEBHOOKS_MAX = 100;

/** @param {{ webhookId: string }} props */
export function WebhookScreen({ webhookId }) {
  // The API lists endpoints, of which there are few, and has no operation for one.
  const endpoints = useListing('/webhooks', { limit: WEBHOOKS_MAX });
  const { rows, error, reload } = endpoints;
  const webhook = /** @type {Webhook[] | undefined} */ (rows)?.find(
    (each) => each.webhookId === webhookId,
  );
  const trail = [{ href: linkTo(['webhooks']), text: 'Webhooks' }];
  return html`<${Screen}
    title=${webhook?.description || 'Webhook endpoint'}
    above=${html`<${Breadcrumbs} trail=${trail} />`}
    beside=${webhook && html`<${Actions} webhook=${webhook} reload=${reload} />`}
  >
    ${error && html`<${ErrorMessage} error=${error} onRetry=${reload} />`}
    ${!rows && !error && html`<${Loading} />`}
    ${rows && !webhook && html`<p class="empty">There is no endpoint with that id.</p>`}
    ${webhook && html`<${Details} webhook=${webhook} />`}
    ${webhook && html`<${Deliveries} webhook=${webhook} reload=${reload} />`}
  <//>`;
}

/** @param {{ webhook: Webhook, reload: () => void }} props */
function Actions({ webhook, reload }) {
  const show = (/** @type {any} */ dialog) => () =>
    showDialog(html`<${dialog} webhook=${webhook} onDone=${reload} />`);
  return html`
    ${webhook.state !== 'active' && html`<button type="button" class="primary" onClick=${show(ResumeDialog)}>Resume</button>`}
    <button type="button" onClick=${show(RotateDialog)}>Rotate the secret</button>
    <button type="button" class="danger" onClick=${show(DeleteDialog)}>Delete</button>
  `;
}

/** @param {{ webhook: Webhook }} props */
function Details({ webhook }) {
  return html`<section class="card" aria-label="Endpoint">
    <${Facts}
      facts=${[
        ['State', html`<${Badge} tone=${WEBHOOK_TONES[webhook.state]}>${webhook.state}<//>`],
        ...(webhook.pausedUntil
          ? [['Paused until', html`<${Time} at=${webhook.pausedUntil} />`]]
          : []),
        ['Address', html`<code class="breaks">${webhook.url}</code>`],
        ['Events', webhook.events?.join(', ') ?? 'all'],
        ['Sale', webhook.saleId ?? 'all'],
        ['Waiting', formatCount(webhook.pending)],
        ['Given up', formatCount(webhook.dead)],
        ['Failures in a row', formatCount(webhook.failuresInRow)],
        ['Last success', html`<${Time} at=${webhook.lastSuccessAt} />`],
        ['Last failure', html`<${Time} at=${webhook.lastFailureAt} />`],
        ['Last error', webhook.lastError],
        ['Earlier secrets sign until', html`<${Time} at=${webhook.earlierSecretsUntil} />`],
      ]}
    />
  </section>`;
}

/** @param {{ webhook: Webhook, reload: () => void }} props */
function Deliveries({ webhook, reload }) {
  const state = route.value.query.get('state') ?? '';
  const path = pathOf('webhooks', webhook.webhookId, 'deliveries');
  const listing = useListing(path, { state, limit: 50 });
  const retry = (/** @type {Delivery} */ delivery) => () =>
    showDialog(
      html`<${RetryDialog} webhook=${webhook} delivery=${delivery} onDone=${() => {
        listing.reload();
        reload();
      }} />`,
    );
  return html`<section class="deliveries" aria-labelledby="deliveries-heading">
    <h2 id="deliveries-heading">Deliveries</h2>
    <div class="choices" role="group" aria-label="Which deliveries">
      ${['', 'pending', 'delivered', 'dead'].map(
        (each) =>
          html`<a href=${linkTo(['webhooks', webhook.webhookId], { state: each })} aria-current=${each === state ? 'true' : undefined}>${each === '' ? 'all' : each}</a>`,
      )}
    </div>
    <${ListingView}
      listing=${listing}
      empty="No delivery."
      render=${(/** @type {Delivery[]} */ rows) =>
        html`<${Table} caption="Deliveries" head=${['Event', 'State', 'Attempts', 'Response', 'Created', 'Next attempt', '']}>
          ${rows.map(
            (delivery) =>
              html`<tr key=${delivery.deliveryId}>
                <th scope="row">${delivery.event}<br /><code class="aside breaks">${delivery.messageId}</code></th>
                <td><${Badge} tone=${DELIVERY_TONES[delivery.state]}>${delivery.state}<//></td>
                <td class="number">${formatCount(delivery.attempts)}</td>
                <td class="breaks">${delivery.lastStatus ?? ''} ${delivery.lastError ?? ''}</td>
                <td><${Time} at=${delivery.createdAt} /></td>
                <td><${Time} at=${delivery.nextAttemptAt} /></td>
                <td>
                  ${
                    delivery.state !== 'delivered' &&
                    html`<button type="button" class="small" onClick=${retry(delivery)}>
                      Retry<span class="visually-hidden"> ${delivery.messageId}</span>
                    </button>`
                  }
                </td>
              </tr>`,
          )}
        <//>`}
    />
  </section>`;
}

/** @typedef {{ webhook: Webhook, onDone: () => void }} Props */

/** @param {Props & { delivery: Delivery }} props */
function RetryDialog({ webhook, delivery, onDone }) {
  const run = async () => {
    await change(
      'POST',
      pathOf('webhooks', webhook.webhookId, 'deliveries', String(delivery.deliveryId), 'retry'),
    );
    onDone();
    return 'The delivery is sent again.';
  };
  return html`<${ActionDialog} title="Send the message again?" confirm="Send again" run=${run}>
    <ul class="effects">
      <li>1 message, ${delivery.event}, is due now; ${formatUnits(delivery.attempts, 'attempt has', 'attempts have')} failed.</li>
      <li>It is repeated for 24 hours, always with the same <code>webhook-id</code>.</li>
    </ul>
  <//>`;
}

/** @param {Props} props */
function ResumeDialog({ webhook, onDone }) {
  const run = async () => {
    await change('POST', pathOf('webhooks', webhook.webhookId, 'resume'));
    onDone();
    return 'The endpoint is active.';
  };
  return html`<${ActionDialog} title="Resume the endpoint?" confirm="Resume" run=${run}>
    <ul class="effects"><li>${formatUnits(webhook.pending, 'waiting message is', 'waiting messages are')} sent at once.</li></ul>
  <//>`;
}

/** @param {Props} props */
function RotateDialog({ webhook, onDone }) {
  const run = async () => {
    const { secret } = await change('POST', pathOf('webhooks', webhook.webhookId, 'rotate-secret'));
    onDone();
    setTimeout(() => showSecret(secret));
  };
  return html`<${ActionDialog} title="Rotate the secret?" confirm="Make a new secret" run=${run}>
    <ul class="effects">
      <li>Makes 1 new secret, which is shown once.</li>
      <li>The present secret signs too for 24 hours. Change the receiver before that.</li>
    </ul>
  <//>`;
}

/** @param {Props} props */
function DeleteDialog({ webhook, onDone }) {
  const run = async () => {
    await change('DELETE', pathOf('webhooks', webhook.webhookId));
    onDone();
    navigate(linkTo(['webhooks']));
    return 'The endpoint is deleted.';
  };
  return html`<${ActionDialog} title="Delete the endpoint?" confirm="Delete the endpoint" tone="danger" run=${run}>
    <p class="subject breaks">${webhook.url}</p>
    <ul class="effects">
      <li>${formatUnits(webhook.pending, 'waiting message is', 'waiting messages are')} never sent.</li>
      <li>Its secret and its deliveries are removed. It cannot be undone.</li>
    </ul>
  <//>`;
}
