/** The form of a sale as texts that people type, and the request that it becomes. Errors are by field. */
import { majorText, parseMoney } from './money.js';

/** @import { Sale } from './shapes.js' */

/**
 * @typedef {object} SkuForm
 * @property {number} key Identifies the row while it is edited.
 * @property {boolean} isKnown The SKU exists: its id and its stock cannot change here.
 * @property {string} sku
 * @property {string} name
 * @property {string} price
 * @property {string} stock
 * @property {string} perBuyerLimit
 *
 * @typedef {object} SaleForm
 * @property {string} saleId
 * @property {string} name
 * @property {string} currency
 * @property {string} startsAt As a field for a local time has it.
 * @property {string} endsAt
 * @property {string} perBuyerLimit
 * @property {string} holdSeconds
 * @property {string} waitlistHoldSeconds
 * @property {SkuForm[]} skus
 */

let lastKey = 0;

/** @returns {SkuForm} */
export function emptySku() {
  lastKey += 1;
  return {
    key: lastKey,
    isKnown: false,
    sku: '',
    name: '',
    price: '',
    stock: '',
    perBuyerLimit: '',
  };
}

/** @returns {SaleForm} */
export function emptyForm() {
  return {
    saleId: '',
    name: '',
    currency: 'EUR',
    startsAt: '',
    endsAt: '',
    perBuyerLimit: '1',
    holdSeconds: '300',
    waitlistHoldSeconds: '',
    skus: [emptySku()],
  };
}

/** @param {Sale} sale @returns {SaleForm} */
export function formOf(sale) {
  return {
    saleId: sale.saleId,
    name: sale.name,
    currency: sale.currency,
    startsAt: localText(sale.startsAt),
    endsAt: localText(sale.endsAt),
    perBuyerLimit: String(sale.perBuyerLimit),
    holdSeconds: String(sale.holdSeconds),
    waitlistHoldSeconds:
      sale.waitlistHoldSeconds === sale.holdSeconds ? '' : String(sale.waitlistHoldSeconds),
    skus: sale.skus.map((sku) => ({
      ...emptySku(),
      isKnown: true,
      sku: sku.sku,
      name: sku.name,
      price: majorText(sku.price, sale.currency),
      perBuyerLimit: sku.perBuyerLimit === null ? '' : String(sku.perBuyerLimit),
    })),
  };
}

/**
 * What the form asks for. `errors` has what cannot be sent at all; the server checks the rest.
 *
 * @param {SaleForm} form
 * @returns {{ body: Record<string, unknown>, errors: Record<string, string> }}
 */
export function readForm(form) {
  /** @type {Record<string, string>} */
  const errors = {};
  const whole = (/** @type {string} */ field, /** @type {string} */ text) => {
    if (/^\d{1,12}$/.test(text.trim())) return Number(text);
    errors[field] = 'must be a whole number';
    return undefined;
  };
  const time = (/** @type {string} */ field, /** @type {string} */ text) => {
    if (text === '') return null;
    const at = new Date(text);
    if (!Number.isNaN(at.getTime())) return at.toISOString();
    errors[field] = 'must be a date and a time';
    return undefined;
  };
  if (form.name.trim() === '') errors.name = 'must not be empty';
  const skus = form.skus.map(({ isKnown, sku, name, price, stock, perBuyerLimit }, index) => {
    const at = `skus.${index}`;
    const minor = parseMoney(price, form.currency);
    if (minor === undefined) errors[`${at}.price`] = `must be an amount in ${form.currency}`;
    if (sku.trim() === '') errors[`${at}.sku`] = 'must not be empty';
    return {
      sku: sku.trim(),
      ...(name.trim() === '' ? {} : { name: name.trim() }),
      price: minor,
      ...(isKnown ? {} : { stock: whole(`${at}.stock`, stock) }),
      ...(perBuyerLimit.trim() === ''
        ? isKnown && { perBuyerLimit: null }
        : { perBuyerLimit: whole(`${at}.perBuyerLimit`, perBuyerLimit) }),
    };
  });
  const body = {
    ...(form.saleId.trim() === '' ? {} : { saleId: form.saleId.trim() }),
    name: form.name.trim(),
    currency: form.currency,
    startsAt: time('startsAt', form.startsAt),
    endsAt: time('endsAt', form.endsAt),
    perBuyerLimit: whole('perBuyerLimit', form.perBuyerLimit),
    holdSeconds: whole('holdSeconds', form.holdSeconds),
    ...(form.waitlistHoldSeconds.trim() === ''
      ? {}
      : { waitlistHoldSeconds: whole('waitlistHoldSeconds', form.waitlistHoldSeconds) }),
    skus,
  };
  return { body, errors };
}

/**
 * Only what differs: a field that must not change any more is not sent.
 *
 * @param {SaleForm} before
 * @param {SaleForm} after
 * @returns {{ body: Record<string, unknown>, errors: Record<string, string>, places: number[] }}
 *   `places`: for each SKU that is sent, its place in the form.
 */
export function readChanges(before, after) {
  const { body, errors } = readForm(after);
  const earlier = /** @type {Record<string, any>} */ (readForm(before).body);
  /** @type {Record<string, unknown>} */
  const changes = {};
  for (const field of ['name', 'startsAt', 'endsAt', 'perBuyerLimit', 'holdSeconds']) {
    if (body[field] !== earlier[field]) changes[field] = body[field];
  }
  const waitlist = body.waitlistHoldSeconds ?? null;
  if (waitlist !== (earlier.waitlistHoldSeconds ?? null)) changes.waitlistHoldSeconds = waitlist;
  /** @type {number[]} */
  const places = [];
  const skus = /** @type {any[]} */ (body.skus).flatMap((sku, place) => {
    const known = earlier.skus.find((/** @type {any} */ each) => each.sku === sku.sku);
    const fields = Object.entries(sku).filter(
      ([field, value]) => field === 'sku' || value !== known?.[field],
    );
    if (known && fields.length === 1) return [];
    places.push(place);
    return [Object.fromEntries(fields)];
  });
  if (skus.length > 0) changes.skus = skus;
  return { body: changes, errors, places };
}

/** `2030-01-31T18:00:05`, in the browser's time zone. @param {string | null} iso */
export function localText(iso) {
  if (iso === null) return '';
  const at = new Date(iso);
  const local = new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19);
}
