/** Dead letters: events that PostgreSQL rejected. Each is retried, or discarded with a reason. */
import { useSignal } from '@preact/signals';
import { change, pathOf } from '../core/api.js';
import { showDialog } from '../core/dialogs.js';
import { formatCount } from '../core/format.js';
import { html } from '../core/html.js';
import { useListing } from '../core/listing.js';
import { linkTo, route } from '../core/router.js';
import { may } from '../core/session.js';
import { ActionDialog } from '../parts/dialog.js';
import { Facts, Time } from '../parts/facts.js';
import { Field } from '../parts/field.js';
import { ListingView } from '../parts/messages.js';
import { Screen } from '../parts/screen.js';

/** @import { DeadLetter } from '../core/shapes.js' */

export function DeadLettersScreen() {
  const resolved = route.value.query.get('show') === 'resolved';
  const listing = useListing('/dead-letters', { resolved: String(resolved), limit: 50 });
  return html`<${Screen} title="Dead letters">
    <p class="lead">
      Events that PostgreSQL rejected. Nothing else waits for them, but they block the recovery and the archive of their
      sale until they are written or discarded.
    </p>
    <div class="choices" role="group" aria-label="Which dead letters">
      <a href=${linkTo(['dead-letters'])} aria-current=${resolved ? undefined : 'true'}>Unresolved</a>
      <a href=${linkTo(['dead-letters'], { show: 'resolved' })} aria-current=${resolved ? 'true' : undefined}>Resolved</a>
    </div>
    <${ListingView}
      listing=${listing}
      empty=${resolved ? 'None was resolved yet.' : 'There is none. That is how it should be.'}
      render=${(/** @type {DeadLetter[]} */ rows) =>
        html`<ul class="letters">
          ${rows.map((letter) => html`<li key=${letter.deadLetterId}><${Letter} letter=${letter} reload=${listing.reload} /></li>`)}
        </ul>`}
    />
  <//>`;
}

/** @param {{ letter: DeadLetter, reload: () => void }} props */
function Letter({ letter, reload }) {
  const { deadLetterId, saleId, event, reason, payload } = letter;
  const show = (/** @type {any} */ dialog) => () =>
    showDialog(html`<${dialog} letter=${letter} onDone=${reload} />`);
  return html`<article class="card">
    <h2>Dead letter ${formatCount(deadLetterId)}</h2>
    <p class="message bad">${reason}</p>
    <${Facts}
      facts=${[
        ['Sale', html`<a href=${linkTo(['sales', saleId])}>${saleId}</a>`],
        ['Event', event === null ? 'the whole entry cannot be read' : formatCount(event)],
        ['Stream entry', html`<code>${letter.entryId}</code>`],
        ['Attempts', formatCount(letter.attempts)],
        ['Rejected', html`<${Time} at=${letter.createdAt} />`],
        ['Retry requested', html`<${Time} at=${letter.retryRequestedAt} />`],
        ...(letter.resolvedAt
          ? [
              [
                letter.discardedBy ? 'Discarded' : 'Written',
                html`<${Time} at=${letter.resolvedAt} />`,
              ],
              ...(letter.discardedBy
                ? [
                    ['By', letter.discardedBy],
                    ['Reason', letter.discardReason],
                  ]
                : []),
            ]
          : []),
      ]}
    />
    <details>
      <summary>The event</summary>
      <pre>${payload}</pre>
    </details>
    ${
      may('operator') &&
      letter.resolvedAt === null &&
      html`<div class="actions">
        <button type="button" class="primary" onClick=${show(RetryDialog)}>Retry</button>
        <button type="button" class="danger" onClick=${show(DiscardDialog)}>Discard</button>
      </div>`
    }
  </article>`;
}

/** @param {{ letter: DeadLetter, onDone: () => void }} props */
function RetryDialog({ letter, onDone }) {
  const run = async () => {
    await change('POST', pathOf('dead-letters', String(letter.deadLetterId), 'retry'));
    onDone();
    return 'The retry is requested.';
  };
  return html`<${ActionDialog} title="Retry the event?" confirm="Retry" run=${run}>
    <ul class="effects">
      <li>A persister tries to write 1 event of ${letter.saleId} again. ${formatCount(letter.attempts)} attempts have failed.</li>
      <li>It is written once at most. If PostgreSQL rejects it again, it stays here.</li>
    </ul>
  <//>`;
}

/** @param {{ letter: DeadLetter, onDone: () => void }} props */
function DiscardDialog({ letter, onDone }) {
  const reason = useSignal('');
  const run = async () => {
    const path = pathOf('dead-letters', String(letter.deadLetterId), 'discard');
    await change('POST', path, { reason: reason.value.trim() });
    onDone();
    return 'The dead letter is discarded.';
  };
  return html`<${ActionDialog}
    title="Discard the event for good?"
    confirm="Discard the event"
    tone="danger"
    obstacle=${() => (reason.value.trim() === '' ? 'Enter a reason.' : undefined)}
    run=${run}
  >
    <${Field}
      label="Reason"
      required
      value=${reason.value}
      onInput=${(/** @type {string} */ text) => {
        reason.value = text;
      }}
      hint="Stored with the dead letter and in the audit."
      attributes=${{ maxlength: 500 }}
    />
    <ul class="effects">
      <li>PostgreSQL never gets 1 event of ${letter.saleId}. It cannot be undone.</li>
      <li>Redis keeps its effect until the sale is rebuilt. Then a reservation that has no other event no longer exists, and its units are on sale again.</li>
      <li>If the buyer keeps the goods: pause the sale, discard, recover, withdraw as many units, resume.</li>
    </ul>
  <//>`;
}
