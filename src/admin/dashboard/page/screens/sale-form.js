/** Creating a sale, and changing one. */
import { useSignal } from '@preact/signals';
import { useMemo } from 'preact/hooks';
import { change, newIdempotencyKey, pathOf } from '../core/api.js';
import { formatDuration } from '../core/format.js';
import { html } from '../core/html.js';
import { useResource } from '../core/listing.js';
import { CURRENCY_DIGITS } from '../core/money.js';
import { notify } from '../core/notices.js';
import { linkTo, navigate } from '../core/router.js';
import { emptyForm, emptySku, formOf, readChanges, readForm } from '../core/sale-form.js';
import { Field } from '../parts/field.js';
import { ErrorMessage, Loading } from '../parts/messages.js';
import { Breadcrumbs, Screen } from '../parts/screen.js';

/** @import { SaleForm, SkuForm } from '../core/sale-form.js' */
/** @import { Sale } from '../core/shapes.js' */

const CURRENCIES = [...CURRENCY_DIGITS.keys()].toSorted();

export function NewSaleScreen() {
  const idempotencyKey = useMemo(newIdempotencyKey, []);
  return html`<${Screen}
    title="Create a sale"
    above=${html`<${Breadcrumbs} trail=${[{ href: linkTo(['sales']), text: 'Sales' }]} />`}
  >
    <p class="lead">It begins as a draft. Buyers see it when you open it.</p>
    <${SaleFormView}
      initial=${emptyForm()}
      submitText="Create the draft"
      submit=${async (/** @type {SaleForm} */ form) => {
        const { body, errors } = readForm(form);
        if (Object.keys(errors).length > 0) return errors;
        const sale = await change('POST', '/sales', body, idempotencyKey);
        notify(`${sale.name} is created as a draft.`);
        navigate(linkTo(['sales', sale.saleId]));
        return {};
      }}
    />
  <//>`;
}

/** @param {{ saleId: string }} props */
export function EditSaleScreen({ saleId }) {
  const sale = useResource(pathOf('sales', saleId));
  const { value, error, reload } = sale;
  return html`<${Screen}
    title="Edit the sale"
    above=${html`<${Breadcrumbs}
      trail=${[
        { href: linkTo(['sales']), text: 'Sales' },
        {
          href: linkTo(['sales', saleId]),
          text: /** @type {Sale | undefined} */ (value)?.name ?? saleId,
        },
      ]}
    />`}
  >
    ${error && html`<${ErrorMessage} error=${error} onRetry=${reload} />`}
    ${!value && !error && html`<${Loading} />`}
    ${value && html`<${EditForm} sale=${value} />`}
  <//>`;
}

/** @param {{ sale: Sale }} props */
function EditForm({ sale }) {
  const initial = useMemo(() => formOf(sale), [sale]);
  const isDraft = sale.status === 'draft';
  return html`
    <p class="lead">
      ${
        isDraft
          ? 'A draft can change, except for its currency and its id.'
          : 'Names and prices can change before the start and during a pause; reservations keep their price. The end and the limits can change until the sale has ended.'
      }
    </p>
    <${SaleFormView}
      initial=${initial}
      known=${sale}
      submitText="Save the changes"
      submit=${async (/** @type {SaleForm} */ form) => {
        const { body, errors, places } = readChanges(initial, form);
        if (Object.keys(errors).length > 0) return errors;
        if (Object.keys(body).length > 0) {
          try {
            await change('PATCH', pathOf('sales', sale.saleId), body);
          } catch (failure) {
            throw renamed(failure, places);
          }
          notify('The changes are saved.');
        }
        navigate(linkTo(['sales', sale.saleId]));
        return {};
      }}
    />
  `;
}

/** Errors name the SKUs by their place in the request; the form has more rows. @param {any} failure @param {number[]} places */
function renamed(failure, places) {
  for (const each of failure.errors ?? []) {
    each.field = each.field.replace(
      /^skus\.(\d+)/,
      (/** @type {string} */ _all, /** @type {string} */ index) =>
        `skus.${places[Number(index)] ?? index}`,
    );
  }
  return failure;
}

/**
 * @param {object} props
 * @param {SaleForm} props.initial
 * @param {Sale} [props.known]
 * @param {string} props.submitText
 * @param {(form: SaleForm) => Promise<Record<string, string>>} props.submit Returns errors by field.
 */
function SaleFormView({ initial, known, submitText, submit }) {
  const form = useSignal(initial);
  const errors = useSignal(/** @type {Record<string, string>} */ ({}));
  const error = useSignal(/** @type {Error | undefined} */ (undefined));
  const isBusy = useSignal(false);
  const isDraft = known === undefined || known.status === 'draft';
  const { skus } = form.value;

  const set = (/** @type {keyof SaleForm} */ field) => (/** @type {string} */ value) => {
    form.value = { ...form.value, [field]: value };
  };
  const setSku = (/** @type {SkuForm} */ changed) => {
    const next = skus.map((sku) => (sku.key === changed.key ? changed : sku));
    form.value = { ...form.value, skus: next };
  };
  const onSubmit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    if (isBusy.value) return;
    isBusy.value = true;
    error.value = undefined;
    errors.value = {};
    try {
      errors.value = await submit(form.value);
      if (Object.keys(errors.value).length > 0)
        error.value = new Error('Some fields are not right yet.');
    } catch (failure) {
      const { errors: byField = [] } = /** @type {any} */ (failure);
      error.value = new Error(/** @type {Error} */ (failure).message);
      errors.value = Object.fromEntries(
        byField.map((/** @type {any} */ each) => [each.field, each.message]),
      );
    }
    isBusy.value = false;
    if (error.value) focusFirstError();
  };

  const field = (
    /** @type {Exclude<keyof SaleForm, 'skus'>} */ name,
    /** @type {string} */ label,
    /** @type {Record<string, unknown>} */ more = {},
  ) =>
    html`<${Field} label=${label} value=${form.value[name]} onInput=${set(name)} error=${errors.value[name]} ...${more} />`;
  const seconds = (/** @type {string} */ text) =>
    /^\d{1,7}$/.test(text) ? formatDuration(Number(text)) : undefined;

  return html`<form class="sale-form" onSubmit=${onSubmit} novalidate>
    <fieldset>
      <legend>The sale</legend>
      ${field('name', 'Name', { required: true, attributes: { maxlength: 200 } })}
      ${field('saleId', 'Id', {
        hint: known
          ? 'The id cannot change.'
          : 'Part of addresses and of reservation ids: a-z, 0-9 and -. Without one, it is made from the name.',
        attributes: { readonly: known !== undefined, spellcheck: false },
      })}
      ${
        known === undefined &&
        html`<${Field}
          label="Currency"
          required
          value=${form.value.currency}
          onInput=${set('currency')}
          error=${errors.value.currency}
          options=${CURRENCIES.map((code) => ({ value: code, text: code }))}
        />`
      }
    </fieldset>
    <fieldset>
      <legend>Time</legend>
      ${field('startsAt', 'Starts at', { type: 'datetime-local', hint: 'In the time zone of this device. Without one, it starts when you open it.', attributes: { step: 1 } })}
      ${field('endsAt', 'Ends at', { type: 'datetime-local', hint: 'Without one, it ends when you end it.', attributes: { step: 1 } })}
    </fieldset>
    <fieldset>
      <legend>Limits</legend>
      ${field('perBuyerLimit', 'Units for each buyer', { required: true, attributes: { inputmode: 'numeric' } })}
      ${
        isDraft &&
        html`
          ${field('holdSeconds', 'A hold lasts, in seconds', { required: true, hint: seconds(form.value.holdSeconds), attributes: { inputmode: 'numeric' } })}
          ${field('waitlistHoldSeconds', 'Waitlist hold, in seconds', { hint: seconds(form.value.waitlistHoldSeconds) ?? 'Without one, as long as any other hold.', attributes: { inputmode: 'numeric' } })}
        `
      }
    </fieldset>
    ${skus.map(
      (sku, index) =>
        html`<${SkuFields}
          key=${sku.key}
          sku=${sku}
          index=${index}
          currency=${form.value.currency}
          errors=${errors.value}
          onChange=${setSku}
          onRemove=${
            skus.length > 1 && !sku.isKnown
              ? () => {
                  form.value = { ...form.value, skus: skus.filter(({ key }) => key !== sku.key) };
                }
              : undefined
          }
        />`,
    )}
    ${
      isDraft &&
      html`<p>
        <button
          type="button"
          onClick=${() => {
            form.value = { ...form.value, skus: [...skus, emptySku()] };
          }}
        >
          Add a SKU
        </button>
      </p>`
    }
    ${error.value && html`<${ErrorMessage} error=${error.value} />`}
    <div class="form-actions">
      <button type="submit" class="primary" aria-disabled=${isBusy.value}>
        ${isBusy.value ? 'Working…' : submitText}
      </button>
    </div>
  </form>`;
}

/**
 * @param {object} props
 * @param {SkuForm} props.sku
 * @param {number} props.index
 * @param {string} props.currency
 * @param {Record<string, string>} props.errors
 * @param {(sku: SkuForm) => void} props.onChange
 * @param {(() => void) | undefined} props.onRemove
 */
function SkuFields({ sku, index, currency, errors, onChange, onRemove }) {
  const field = (
    /** @type {Exclude<keyof SkuForm, 'key' | 'isKnown'>} */ name,
    /** @type {string} */ label,
    /** @type {Record<string, unknown>} */ more = {},
  ) =>
    html`<${Field}
      label=${label}
      value=${sku[name]}
      onInput=${(/** @type {string} */ value) => onChange({ ...sku, [name]: value })}
      error=${errors[`skus.${index}.${name}`]}
      ...${more}
    />`;
  return html`<fieldset class="sku-fields">
    <legend>${sku.isKnown ? `SKU ${sku.sku}` : `SKU ${index + 1}`}</legend>
    ${!sku.isKnown && field('sku', 'Id', { required: true, attributes: { maxlength: 40, spellcheck: false } })}
    ${field('name', 'Name', { attributes: { maxlength: 200 } })}
    ${field('price', `Price in ${currency}`, { required: true, attributes: { inputmode: 'decimal' } })}
    ${!sku.isKnown && field('stock', 'Units', { required: true, attributes: { inputmode: 'numeric' } })}
    ${field('perBuyerLimit', 'Units of it for each buyer', { hint: 'Beside the limit of the sale.', attributes: { inputmode: 'numeric' } })}
    ${onRemove && html`<p><button type="button" onClick=${onRemove}>Remove SKU ${index + 1}</button></p>`}
  </fieldset>`;
}

function focusFirstError() {
  requestAnimationFrame(() => {
    const first = document.querySelector('[aria-invalid="true"]');
    if (first instanceof HTMLElement) first.focus();
  });
}
