/** Reservations as a table; each links to its history. */
import { formatCount, formatTime } from '../core/format.js';
import { html } from '../core/html.js';
import { formatMoney } from '../core/money.js';
import { linkTo } from '../core/router.js';
import { ReservationBadge } from './badge.js';
import { Table, Time } from './facts.js';

/** @import { Item, Reservation } from '../core/shapes.js' */

/** @param {readonly Item[]} items */
export function itemsText(items) {
  return items
    .map(({ sku, quantity, cancelled }) =>
      cancelled
        ? `${formatCount(quantity)} × ${sku} (${formatCount(cancelled)} cancelled)`
        : `${formatCount(quantity)} × ${sku}`,
    )
    .join(', ');
}

/** @param {{ rows: Reservation[], caption: string, withSale?: boolean, formatAt?: (time: string) => string }} props */
export function ReservationTable({ rows, caption, withSale = false, formatAt = formatTime }) {
  const head = ['Position', 'Buyer', 'Units', 'Total', 'Status', 'Reserved'];
  return html`<${Table} caption=${caption} head=${withSale ? ['Sale', ...head] : head}>
    ${rows.map(
      (row) =>
        html`<tr key=${row.reservationId}>
          ${withSale && html`<td><a href=${linkTo(['sales', row.saleId])}>${row.saleId}</a></td>`}
          <th scope="row">
            <a href=${linkTo(['reservations', row.reservationId])} title=${row.reservationId}
              >${formatCount(row.position)}</a
            >
          </th>
          <td class="breaks">${row.buyerId}</td>
          <td>
            ${itemsText(row.items)}
            ${row.source === 'waitlist' && html` <span class="aside">from the waitlist</span>`}
          </td>
          <td class="number">${formatMoney(row.total, row.currency)}</td>
          <td><${ReservationBadge} status=${row.status} /></td>
          <td><${Time} at=${row.reservedAt} format=${formatAt} /></td>
        </tr>`,
    )}
  <//>`;
}
