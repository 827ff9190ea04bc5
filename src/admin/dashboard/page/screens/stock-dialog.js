/** Loading units of a SKU, or withdrawing remaining ones, with the numbers before and after. */
import { useSignal } from '@preact/signals';
import { useMemo } from 'preact/hooks';
import { change, newIdempotencyKey, pathOf } from '../core/api.js';
import { formatCount, formatUnits } from '../core/format.js';
import { useFreshSale } from '../core/fresh-sale.js';
import { html } from '../core/html.js';
import { ActionDialog } from '../parts/dialog.js';
import { Field } from '../parts/field.js';

/** @import { Sale } from '../core/shapes.js' */

/** @param {{ known: Sale, skuId: string }} props */
export function StockDialog({ known, skuId }) {
  const sale = useFreshSale(known);
  const direction = useSignal('load');
  const quantity = useSignal('');
  const reason = useSignal('');
  const sku = sale.skus.find((each) => each.sku === skuId);
  const isLoad = direction.value === 'load';
  const units = /^\d{1,10}$/.test(quantity.value.trim()) ? Number(quantity.value) : undefined;
  const delta = units === undefined ? undefined : isLoad ? units : -units;
  // Another key for another change; the same one when a failed request is sent again.
  const idempotencyKey = useMemo(newIdempotencyKey, [delta, reason.value]);

  const obstacle = () => {
    if (!units) return 'Enter how many units, as a whole number above 0.';
    const remaining = sku?.remaining ?? null;
    if (!isLoad && remaining !== null && units > remaining) {
      return `Only ${formatUnits(remaining, 'unit')} can be withdrawn.`;
    }
    return undefined;
  };
  const run = async () => {
    const body = { sku: skuId, delta, reason: reason.value.trim() };
    await change('POST', pathOf('sales', sale.saleId, 'stock'), body, idempotencyKey);
    return `${formatUnits(units, 'unit')} of ${skuId} ${isLoad ? 'loaded' : 'withdrawn'}.`;
  };

  const verb = isLoad ? 'Load' : 'Withdraw';
  return html`<${ActionDialog}
    title="Change the stock of ${sku?.name ?? skuId}"
    confirm=${units ? `${verb} ${formatUnits(units, 'unit')}` : verb}
    tone=${isLoad ? 'primary' : 'danger'}
    obstacle=${obstacle}
    run=${run}
  >
    <${Field}
      label="What to do"
      required
      value=${direction.value}
      onInput=${(/** @type {string} */ value) => {
        direction.value = value;
      }}
      options=${[
        { value: 'load', text: 'Load units' },
        { value: 'withdraw', text: 'Withdraw remaining units' },
      ]}
    />
    <${Field}
      label="Units"
      required
      value=${quantity.value}
      onInput=${(/** @type {string} */ value) => {
        quantity.value = value;
      }}
      attributes=${{ inputmode: 'numeric' }}
      hint=${isLoad ? undefined : `${formatUnits(sku?.remaining, 'unit')} can be withdrawn: those that nobody holds or has bought.`}
    />
    <${Field}
      label="Reason"
      value=${reason.value}
      onInput=${(/** @type {string} */ value) => {
        reason.value = value;
      }}
      hint="For the stock ledger and the audit."
    />
    <ul class="effects">
      <li>Loaded: ${formatCount(sku?.loaded)}${after(sku?.loaded, delta)}</li>
      <li>
        Remaining: ${formatCount(sku?.remaining)}${after(sku?.remaining, delta)}
        ${isLoad && sku?.waiting ? `, first for the ${formatUnits(sku.waiting, 'buyer')} on the waitlist` : ''}
      </li>
      <li>Held and confirmed units stay: ${formatCount(sku?.held)} and ${formatCount(sku?.confirmed)}.</li>
    </ul>
  <//>`;
}

/** @param {number | null | undefined} before @param {number | undefined} delta */
function after(before, delta) {
  if (before === null || before === undefined || !delta) return '';
  return ` → ${formatCount(Math.max(0, before + delta))}`;
}
