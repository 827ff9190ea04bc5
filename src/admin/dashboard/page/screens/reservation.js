/** One reservation: what it is, what merchants can do with it, and its history as a timeline. */

import { pathOf } from '../core/api.js';
import { secondNow } from '../core/clock.js';
import { showDialog } from '../core/dialogs.js';
import { formatCount, formatExact } from '../core/format.js';
import { html } from '../core/html.js';
import { useResource } from '../core/listing.js';
import { formatMoney } from '../core/money.js';
import { linkTo } from '../core/router.js';
import { may } from '../core/session.js';
import { ReservationBadge } from '../parts/badge.js';
import { Countdown } from '../parts/countdown.js';
import { Facts, Table, Time } from '../parts/facts.js';
import { ErrorMessage, Loading } from '../parts/messages.js';
import { itemsText } from '../parts/reservation-table.js';
import { Breadcrumbs, Screen } from '../parts/screen.js';
import { CancelDialog, ConfirmDialog, ExtendDialog } from './reservation-dialogs.js';

/** @import { HistoryEvent, ReservationWithHistory } from '../core/shapes.js' */

/** @param {{ reservationId: string }} props */
export function ReservationScreen({ reservationId }) {
  const { value, error, reload } = useResource(pathOf('reservations', reservationId));
  const reservation = /** @type {ReservationWithHistory | undefined} */ (value);
  const saleId = reservationId.split('_')[0] ?? '';
  return html`<${Screen}
    title="Reservation ${reservationId}"
    heading=${html`Reservation <code>${reservationId}</code>`}
    above=${html`<${Breadcrumbs}
      trail=${[
        { href: linkTo(['sales']), text: 'Sales' },
        { href: linkTo(['sales', saleId]), text: saleId },
        { href: linkTo(['sales', saleId, 'reservations']), text: 'Reservations' },
      ]}
    />`}
    beside=${reservation && html`<${Actions} reservation=${reservation} reload=${reload} />`}
  >
    ${error && html`<${ErrorMessage} error=${error} onRetry=${reload} />`}
    ${!reservation && !error && html`<${Loading} />`}
    ${reservation && html`<${Details} reservation=${reservation} />`}
  <//>`;
}

/** @param {{ reservation: ReservationWithHistory, reload: () => void }} props */
function Actions({ reservation, reload }) {
  if (!may('merchant')) return null;
  const { status, history } = reservation;
  const isOver = status === 'reserved' && Date.parse(reservation.expiresAt) <= secondNow.value;
  const isExtended = history.some(({ transition }) => transition === 'extend');
  const show = (/** @type {any} */ dialog) => () =>
    showDialog(html`<${dialog} reservation=${reservation} onDone=${reload} />`);
  return html`
    ${status === 'reserved' && !isOver && html`<button type="button" class="primary" onClick=${show(ConfirmDialog)}>Confirm</button>`}
    ${status === 'reserved' && !isOver && !isExtended && html`<button type="button" onClick=${show(ExtendDialog)}>Extend</button>`}
    ${(status === 'expired' || isOver) && html`<button type="button" onClick=${show(ConfirmDialog)}>Confirm anyway</button>`}
    ${(status === 'confirmed' || (status === 'reserved' && !isOver)) && html`<button type="button" class="danger" onClick=${show(CancelDialog)}>${status === 'confirmed' ? 'Refund' : 'Cancel'}</button>`}
  `;
}

/** @param {{ reservation: ReservationWithHistory }} props */
function Details({ reservation }) {
  const { currency, items, status, expiresAt, history } = reservation;
  const payment = history.findLast(({ paymentRef }) => paymentRef)?.paymentRef;
  const isHeld = status === 'reserved';
  return html`<div class="details">
    <section class="card" aria-labelledby="facts-heading">
      <h2 id="facts-heading">Reservation</h2>
      <${Facts}
        facts=${[
          ['Status', html`<${ReservationBadge} status=${status} />`],
          ...(isHeld
            ? [['Hold', html`<${Countdown} until=${{ at: expiresAt, label: 'ends in' }} />`]]
            : []),
          [
            'Buyer',
            html`<a class="breaks" href=${linkTo(['reservations'], { buyerId: reservation.buyerId })}>${reservation.buyerId}</a>`,
          ],
          ['Position', formatCount(reservation.position)],
          ['Total', formatMoney(reservation.total, currency)],
          ['Payment', payment && html`<code class="breaks">${payment}</code>`],
          ['From', reservation.source === 'waitlist' ? 'the waitlist' : 'a purchase'],
          ['Reserved', html`<${Time} at=${reservation.reservedAt} />`],
          ...(status === 'confirmed' ? [] : [['Hold until', html`<${Time} at=${expiresAt} />`]]),
          ['Request', html`<code class="breaks">${reservation.requestId}</code>`],
        ]}
      />
    </section>
    <section class="card" aria-labelledby="items-heading">
      <h2 id="items-heading">Units</h2>
      <${Table} caption="Units" head=${['SKU', 'Units', 'Cancelled', 'Each', 'Together']}>
        ${items.map(
          ({ sku, quantity, cancelled, unitPrice }) =>
            html`<tr>
              <th scope="row">${sku}</th>
              <td class="number">${formatCount(quantity)}</td>
              <td class="number">${formatCount(cancelled ?? 0)}</td>
              <td class="number">${formatMoney(unitPrice, currency)}</td>
              <td class="number">${formatMoney(unitPrice * quantity, currency)}</td>
            </tr>`,
        )}
      <//>
    </section>
    <section class="card wide" aria-labelledby="history-heading">
      <h2 id="history-heading">History</h2>
      <ol class="timeline">
        ${history.map((event, index) => html`<li class=${event.status}><${Event} event=${event} before=${history[index - 1]} reservation=${reservation} /></li>`)}
      </ol>
    </section>
  </div>`;
}

/** @param {{ event: HistoryEvent, before: HistoryEvent | undefined, reservation: ReservationWithHistory }} props */
function Event({ event, before, reservation }) {
  const { occurredAt, paymentRef, reason, detail, requestId } = event;
  return html`
    <p class="timeline-head"><strong>${wordsOf(event, before, reservation.items)}</strong> <${Time} at=${occurredAt} format=${formatExact} /></p>
    <p class="aside">
      ${actorText(event, reservation.source)}
      ${paymentRef && html`, payment <code class="breaks">${paymentRef}</code>`}
      ${reason && html`, reason: <q>${reason}</q>`}
      ${detail && html`, ${detail}`}
    </p>
    <p class="aside">Version ${formatCount(event.version)}, event ${formatCount(event.event)}, request <code class="breaks">${requestId}</code></p>
  `;
}

/** @param {HistoryEvent} event @param {HistoryEvent | undefined} before @param {ReservationWithHistory['items']} items */
function wordsOf({ status, transition, items: named, restock }, before, items) {
  const where = restock === false ? ', taken out of the sale' : '';
  if (!before)
    return `Reserved: ${itemsText(items.map(({ sku, quantity, cancelled = 0, unitPrice }) => ({ sku, quantity: quantity + cancelled, unitPrice })))}`;
  if (named) {
    const text = itemsText(named.map((each) => ({ ...each, unitPrice: 0 })));
    return `${status === 'cancelled' ? 'Cancelled' : 'Partly cancelled'}: ${text}${where}`;
  }
  if (transition === 'attach') return 'Payment added';
  if (status === 'reserved') return 'Hold extended';
  if (status === 'confirmed' && before.status === 'expired')
    return 'Confirmed after its hold had expired';
  if (status === 'cancelled')
    return `${before.status === 'confirmed' ? 'Refunded' : 'Cancelled'}${where}`;
  return status === 'confirmed' ? 'Confirmed' : 'Expired';
}

/** @param {HistoryEvent} event @param {ReservationWithHistory['source']} source */
function actorText({ actor, status, version }, source) {
  if (actor) return `by ${actor}`;
  if (status === 'expired') return 'by the end of its hold';
  if (version === 1 && source === 'waitlist') return 'by the waitlist';
  return 'by the buyer';
}
