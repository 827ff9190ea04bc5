/** What merchants do with a reservation, each said in numbers before: confirm, extend, cancel or refund all or a part. */
import { useSignal } from '@preact/signals';
import { useMemo } from 'preact/hooks';
import { change, newIdempotencyKey, pathOf } from '../core/api.js';
import { serverNow } from '../core/clock.js';
import { formatUnits } from '../core/format.js';
import { html } from '../core/html.js';
import { formatMoney } from '../core/money.js';
import { ActionDialog } from '../parts/dialog.js';
import { Checkbox, Field } from '../parts/field.js';
import { itemsText } from '../parts/reservation-table.js';

/** @import { Reservation, ReservationWithHistory } from '../core/shapes.js' */

/** @typedef {{ reservation: ReservationWithHistory, onDone: () => void }} Props */

/** @param {{ reservation: Reservation }} props */
function Subject({ reservation }) {
  return html`<p class="subject">
    <code class="breaks">${reservation.reservationId}</code> of buyer <strong class="breaks">${reservation.buyerId}</strong>
  </p>`;
}

/** @param {Props} props */
export function ConfirmDialog({ reservation, onDone }) {
  const payment = useSignal('');
  const { items, total, currency, status, expiresAt } = reservation;
  const units = unitsOf(items);
  const isLate = status !== 'reserved' || Date.parse(expiresAt) <= serverNow();
  const run = async () => {
    const body = {
      ...(payment.value.trim() === '' ? {} : { paymentRef: payment.value.trim() }),
      ...(isLate ? { reclaim: true } : {}),
    };
    await change('POST', pathOf('reservations', reservation.reservationId, 'confirm'), body);
    onDone();
    return `${formatUnits(units, 'unit')} confirmed.`;
  };
  return html`<${ActionDialog} title="Confirm the reservation?" confirm="Confirm ${formatUnits(units, 'unit')}" run=${run}>
    <${Subject} reservation=${reservation} />
    <${Field}
      label="Payment reference"
      value=${payment.value}
      onInput=${(/** @type {string} */ value) => {
        payment.value = value;
      }}
      hint="The id of the payment at your payment provider. Another one cannot replace it later."
      attributes=${{ maxlength: 200, spellcheck: false }}
    />
    <ul class="effects">
      <li>Sells ${itemsText(items)} for ${formatMoney(total, currency)}. The hold no longer ends by itself.</li>
      ${isLate && html`<li>The hold has expired. It is confirmed only if its ${formatUnits(units, 'unit is', 'units are')} still free.</li>`}
    </ul>
  <//>`;
}

/** @param {Props} props */
export function ExtendDialog({ reservation, onDone }) {
  const run = async () => {
    await change('POST', pathOf('reservations', reservation.reservationId, 'extend'), {});
    onDone();
    return 'The hold is extended.';
  };
  return html`<${ActionDialog} title="Extend the hold?" confirm="Extend the hold" run=${run}>
    <${Subject} reservation=${reservation} />
    <ul class="effects">
      <li>Keeps ${formatUnits(unitsOf(reservation.items), 'unit')} for the buyer for as long again as a hold of this sale lasts.</li>
      <li>It works once for each reservation.</li>
    </ul>
  <//>`;
}

/** @param {Props} props */
export function CancelDialog({ reservation, onDone }) {
  const { items, status, currency } = reservation;
  const present = items.filter(({ quantity }) => quantity > 0);
  const quantities = useSignal(
    Object.fromEntries(present.map(({ sku, quantity }) => [sku, String(quantity)])),
  );
  const reason = useSignal('');
  const restock = useSignal(true);
  const verb = status === 'confirmed' ? 'Refund' : 'Cancel';

  const chosen = present.map((item) => ({
    ...item,
    quantity: wholeNumber(quantities.value[item.sku] ?? '', item.quantity),
  }));
  const isValid = chosen.every(({ quantity }) => quantity !== undefined);
  const taken = chosen.flatMap((item) =>
    item.quantity ? [{ ...item, quantity: item.quantity }] : [],
  );
  const isAll =
    taken.length === present.length &&
    present.every(({ sku, quantity }) =>
      taken.some((each) => each.sku === sku && each.quantity === quantity),
    );
  const units = unitsOf(taken);
  const value = taken.reduce((sum, { quantity, unitPrice }) => sum + quantity * unitPrice, 0);
  const what = JSON.stringify([quantities.value, restock.value, reason.value]);
  const idempotencyKey = useMemo(newIdempotencyKey, [what]);

  const obstacle = () => {
    if (!isValid) return 'Enter whole numbers, at most as many as the reservation has.';
    return units === 0 ? 'Enter how many units.' : undefined;
  };
  const run = async () => {
    const body = {
      restock: restock.value,
      ...(reason.value.trim() === '' ? {} : { reason: reason.value.trim() }),
      ...(isAll ? {} : { items: taken.map(({ sku, quantity }) => ({ sku, quantity })) }),
    };
    const path = pathOf('reservations', reservation.reservationId, 'cancel');
    await change('POST', path, body, isAll ? undefined : idempotencyKey);
    onDone();
    return `${formatUnits(units, 'unit')} ${verb === 'Refund' ? 'refunded' : 'cancelled'}.`;
  };

  return html`<${ActionDialog}
    title="${verb} the reservation?"
    confirm="${verb} ${isValid ? formatUnits(units, 'unit') : ''}"
    tone="danger"
    obstacle=${obstacle}
    run=${run}
  >
    <${Subject} reservation=${reservation} />
    ${present.map(
      ({ sku, quantity }) =>
        html`<${Field}
          key=${sku}
          label="Units of ${sku}, of ${quantity}"
          required
          value=${quantities.value[sku] ?? ''}
          onInput=${(/** @type {string} */ text) => {
            quantities.value = { ...quantities.value, [sku]: text };
          }}
          attributes=${{ inputmode: 'numeric' }}
        />`,
    )}
    <${Checkbox}
      label="Put the units back on sale"
      checked=${restock.value}
      onChange=${(/** @type {boolean} */ checked) => {
        restock.value = checked;
      }}
      hint="Otherwise they leave the sale, for example because they are damaged."
    />
    <${Field}
      label="Reason"
      value=${reason.value}
      onInput=${(/** @type {string} */ text) => {
        reason.value = text;
      }}
      hint="For the history."
      attributes=${{ maxlength: 200 }}
    />
    <ul class="effects">
      <li>
        ${verb}s ${taken.length === 0 ? 'nothing' : itemsText(taken.map(({ sku, quantity, unitPrice }) => ({ sku, quantity, unitPrice })))}, worth ${formatMoney(value, currency)}.
        ${verb === 'Refund' && ' Pay the money back at your payment provider: the engine moves none.'}
      </li>
      <li>
        ${
          restock.value
            ? `${formatUnits(units, 'unit is', 'units are')} on sale again, first for the waitlist.`
            : `${formatUnits(units, 'unit leaves', 'units leave')} the sale: the loaded stock falls.`
        }
      </li>
      <li>${isAll ? 'Nothing is left of the reservation.' : 'The rest of the reservation stays as it is.'} It cannot be undone.</li>
    </ul>
  <//>`;
}

/** @param {readonly { quantity: number }[]} items */
function unitsOf(items) {
  return items.reduce((sum, { quantity }) => sum + quantity, 0);
}

/** Undefined: not a number up to the limit. @param {string} text @param {number} max */
function wholeNumber(text, max) {
  const value = text.trim() === '' ? 0 : Number(text);
  return Number.isInteger(value) && value >= 0 && value <= max ? value : undefined;
}
