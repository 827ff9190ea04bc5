/** Webhook endpoints: their state, and what operators do with them. */
import { useSignal } from '@preact/signals';
import { change } from '../core/api.js';
import { closeDialog, showDialog } from '../core/dialogs.js';
import { formatCount } from '../core/format.js';
import { html } from '../core/html.js';
import { useListing } from '../core/listing.js';
import { linkTo } from '../core/router.js';
import { WEBHOOK_EVENTS } from '../core/webhook-events.js';
import { Badge } from '../parts/badge.js';
import { ActionDialog, Dialog } from '../parts/dialog.js';
import { Table, Time } from '../parts/facts.js';
import { Checkbox, Field } from '../parts/field.js';
import { ListingView } from '../parts/messages.js';
import { Screen } from '../parts/screen.js';

/** @import { Webhook } from '../core/shapes.js' */
/** @import { Tone } from '../parts/badge.js' */

/** @type {Record<Webhook['state'], Tone>} */
export const WEBHOOK_TONES = { active: 'good', paused: 'warn', disabled: 'bad' };

export function WebhooksScreen() {
  const listing = useListing('/webhooks', { limit: 100 });
  const create = () => showDialog(html`<${CreateDialog} onDone=${listing.reload} />`);
  return html`<${Screen}
    title="Webhooks"
    beside=${html`<button type="button" class="primary" onClick=${create}>Add an endpoint</button>`}
  >
    <p class="lead">Endpoints of back ends that get a signed message for each event.</p>
    <${ListingView}
      listing=${listing}
      empty="There is no endpoint."
      render=${(/** @type {Webhook[]} */ rows) =>
        html`<${Table} caption="Webhook endpoints" head=${['Endpoint', 'State', 'Events', 'Sale', 'Waiting', 'Given up', 'Last success']}>
          ${rows.map(
            (webhook) =>
              html`<tr key=${webhook.webhookId}>
                <th scope="row">
                  <a class="breaks" href=${linkTo(['webhooks', webhook.webhookId])}>${webhook.description || webhook.url}</a>
                  ${webhook.description && html`<br /><span class="aside breaks">${webhook.url}</span>`}
                </th>
                <td><${Badge} tone=${WEBHOOK_TONES[webhook.state]}>${webhook.state}<//></td>
                <td>${webhook.events === null ? 'all' : formatCount(webhook.events.length)}</td>
                <td>${webhook.saleId ?? 'all'}</td>
                <td class="number">${formatCount(webhook.pending)}</td>
                <td class="number">${formatCount(webhook.dead)}</td>
                <td><${Time} at=${webhook.lastSuccessAt} /></td>
              </tr>`,
          )}
        <//>`}
    />
  <//>`;
}

/** @param {{ onDone: () => void }} props */
function CreateDialog({ onDone }) {
  const url = useSignal('');
  const description = useSignal('');
  const saleId = useSignal('');
  const all = useSignal(true);
  const events = useSignal(/** @type {string[]} */ ([]));
  const run = async () => {
    const created = await change('POST', '/webhooks', {
      url: url.value.trim(),
      description: description.value.trim(),
      ...(saleId.value.trim() === '' ? {} : { saleId: saleId.value.trim() }),
      ...(all.value ? {} : { events: events.value }),
    });
    onDone();
    // When this dialog has closed.
    setTimeout(() => showSecret(created.secret));
  };
  const obstacle = () => {
    if (url.value.trim() === '') return 'Enter an address.';
    return !all.value && events.value.length === 0 ? 'Choose at least one event.' : undefined;
  };
  const toggle = (/** @type {string} */ event) => (/** @type {boolean} */ checked) => {
    events.value = checked
      ? [...events.value, event]
      : events.value.filter((each) => each !== event);
  };
  return html`<${ActionDialog} title="Add an endpoint" confirm="Add the endpoint" obstacle=${obstacle} run=${run}>
    <${Field} label="Address" type="url" required value=${url.value} onInput=${(
      /** @type {string} */ text,
    ) => {
      url.value = text;
    }} hint="https, and a public address." />
    <${Field} label="Description" value=${description.value} onInput=${(
      /** @type {string} */ text,
    ) => {
      description.value = text;
    }} />
    <${Field} label="Sale id" value=${saleId.value} onInput=${(/** @type {string} */ text) => {
      saleId.value = text;
    }} hint="Without one, for every sale." />
    <${Checkbox} label="All events, also future kinds" checked=${all.value} onChange=${(
      /** @type {boolean} */ checked,
    ) => {
      all.value = checked;
    }} />
    ${
      !all.value &&
      html`<fieldset class="events">
        <legend>Events</legend>
        ${WEBHOOK_EVENTS.map((event) => html`<${Checkbox} key=${event} label=${event} checked=${events.value.includes(event)} onChange=${toggle(event)} />`)}
      </fieldset>`
    }
  <//>`;
}

/** The only moment at which the secret can be read. @param {string} secret */
export function showSecret(secret) {
  showDialog(html`<${SecretDialog} secret=${secret} />`);
}

/** @param {{ secret: string }} props */
function SecretDialog({ secret }) {
  const isCopied = useSignal(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(secret);
      isCopied.value = true;
    } catch {
      // Only pages on https and loopback may write to the clipboard; the text can be selected.
    }
  };
  return html`<${Dialog} title="The secret of the endpoint">
    <p>It signs every message. It is shown only now: store it where the receiver reads it.</p>
    <p class="secret"><code>${secret}</code></p>
    <div class="dialog-actions">
      <button type="button" onClick=${copy}>${isCopied.value ? 'Copied' : 'Copy'}</button>
      <button type="button" class="primary" onClick=${closeDialog}>I have stored it</button>
    </div>
  <//>`;
}
