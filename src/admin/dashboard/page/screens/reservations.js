/** Searching reservations, by buyer, payment, status, SKU and time, over all sales or in one. */
import { useSignal } from '@preact/signals';
import { apiUrl } from '../core/api.js';
import { formatDateTime } from '../core/format.js';
import { html } from '../core/html.js';
import { useListing } from '../core/listing.js';
import { linkTo, navigate, route } from '../core/router.js';
import { localText } from '../core/sale-form.js';
import { Field } from '../parts/field.js';
import { ListingView } from '../parts/messages.js';
import { ReservationTable } from '../parts/reservation-table.js';
import { SaleScreen } from '../parts/sale-head.js';
import { Screen } from '../parts/screen.js';

const STATUSES = ['reserved', 'confirmed', 'cancelled', 'expired'];
const RESERVATION_ID = /^[a-z0-9][a-z0-9-]{0,39}_[1-9][0-9]{0,15}_[A-Za-z0-9]{8}$/;
/** All but `saleId` are in the address, so that a search can be sent to somebody. */
const FIELDS = /** @type {const} */ ([
  'saleId',
  'buyerId',
  'paymentRef',
  'status',
  'sku',
  'from',
  'to',
]);

/** @typedef {Record<(typeof FIELDS)[number], string>} Filter */

export function ReservationsScreen() {
  return html`<${Screen} title="Reservations"><${Search} /><//>`;
}

/** @param {{ saleId: string }} props */
export function SaleReservationsScreen({ saleId }) {
  return html`<${SaleScreen} saleId=${saleId} tab="reservations" what="Reservations">
    <${Search} saleId=${saleId} />
  <//>`;
}

/** @param {{ saleId?: string }} props */
function Search({ saleId }) {
  const { query, segments } = route.value;
  const filter = /** @type {Filter} */ (
    Object.fromEntries(FIELDS.map((field) => [field, query.get(field) ?? '']))
  );
  if (saleId !== undefined) filter.saleId = saleId;
  const listing = useListing('/reservations', { ...filter, limit: 50 });
  const search = (/** @type {Filter} */ next) => {
    const { saleId: inSale, ...others } = next;
    navigate(linkTo(segments, saleId === undefined ? { saleId: inSale, ...others } : others));
  };
  const isOpen = FIELDS.every((field) => field === 'saleId' || filter[field] === '');
  return html`
    <${SearchForm} key=${JSON.stringify(filter)} filter=${filter} inSale=${saleId !== undefined} onSearch=${search} />
    <p class="downloads">
      <a href=${apiUrl('/reservations.csv', filter)} download>Download ${isOpen ? 'all of them' : 'these'} as CSV</a>
    </p>
    <${ListingView}
      listing=${listing}
      empty=${isOpen ? 'There is no reservation yet.' : 'No reservation matches.'}
      render=${(/** @type {any[]} */ rows) =>
        html`<${ReservationTable} rows=${rows} caption="Reservations" withSale=${saleId === undefined} formatAt=${formatDateTime} />`}
    />
  `;
}

/** @param {{ filter: Filter, inSale: boolean, onSearch: (filter: Filter) => void }} props */
function SearchForm({ filter, inSale, onSearch }) {
  const typed = useSignal({
    ...filter,
    from: localText(filter.from === '' ? null : filter.from),
    to: localText(filter.to === '' ? null : filter.to),
    reservationId: '',
  });
  const idError = useSignal(/** @type {string | undefined} */ (undefined));
  const set = (/** @type {keyof typeof typed.value} */ field) => (/** @type {string} */ value) => {
    typed.value = { ...typed.value, [field]: value };
  };
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const { reservationId, from, to, ...others } = typed.value;
    const id = reservationId.trim();
    if (id !== '') {
      if (RESERVATION_ID.test(id)) navigate(linkTo(['reservations', id]));
      else idError.value = 'must look like phones_1042_V1StGXR8';
      return;
    }
    const texts = Object.entries(others).map(([field, value]) => [field, value.trim()]);
    const filled = /** @type {Omit<Filter, 'from' | 'to'>} */ (Object.fromEntries(texts));
    onSearch({ ...filled, from: isoTime(from), to: isoTime(to) });
  };
  const field = (
    /** @type {keyof typeof typed.value} */ name,
    /** @type {string} */ label,
    /** @type {Record<string, unknown>} */ more = {},
  ) =>
    html`<${Field} label=${label} value=${typed.value[name]} onInput=${set(name)} saysOptional=${false} ...${more} />`;
  return html`<form class="search" role="search" aria-label="Reservations" onSubmit=${submit} novalidate>
    ${field('buyerId', 'Buyer')}
    ${field('reservationId', 'Reservation id', { error: idError.value })}
    ${field('paymentRef', 'Payment reference')}
    ${!inSale && field('saleId', 'Sale id')}
    ${field('status', 'Status', {
      options: [
        { value: '', text: 'any' },
        ...STATUSES.map((status) => ({ value: status, text: status })),
      ],
    })}
    ${field('sku', 'SKU')}
    ${field('from', 'Reserved from', { type: 'datetime-local', attributes: { step: 1 } })}
    ${field('to', 'Reserved before', { type: 'datetime-local', attributes: { step: 1 } })}
    <div class="form-actions">
      <button type="submit" class="primary">Search</button>
      <button type="button" onClick=${() => onSearch(nothing(filter, inSale))}>Clear</button>
    </div>
  </form>`;
}

/** @param {Filter} filter @param {boolean} inSale @returns {Filter} */
function nothing(filter, inSale) {
  const empty = /** @type {Filter} */ (Object.fromEntries(FIELDS.map((field) => [field, ''])));
  return { ...empty, saleId: inSale ? filter.saleId : '' };
}

/** @param {string} local */
function isoTime(local) {
  const at = new Date(local);
  return local === '' || Number.isNaN(at.getTime()) ? '' : at.toISOString();
}
