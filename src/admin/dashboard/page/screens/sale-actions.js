/** The buttons of one sale. Each opens a dialog that says in numbers what will happen, and only those that can help are shown. */
import { saleOffsetMs, secondNow } from '../core/clock.js';
import { showDialog } from '../core/dialogs.js';
import { html } from '../core/html.js';
import { rowOf } from '../core/live.js';
import { linkTo } from '../core/router.js';
import { saleStateOf } from '../core/sale-state.js';
import { may } from '../core/session.js';
import { SALE_ACTIONS, SaleActionDialog } from './sale-action-dialog.js';
import { StockDialog } from './stock-dialog.js';

/** @import { Sale, Sku } from '../core/shapes.js' */
/** @import { SaleAction } from './sale-action-dialog.js' */

/** @type {Record<import('../core/sale-state.js').SaleState['key'], SaleAction[]>} */
const ACTIONS_BY_STATE = {
  draft: ['open', 'delete'],
  scheduled: ['pause', 'end'],
  open: ['pause', 'end'],
  'sold-out': ['pause', 'end'],
  paused: ['resume', 'end'],
  recovering: ['recover'],
  unavailable: [],
  ended: ['archive'],
  archived: [],
};

/** @param {{ sale: Sale }} props */
export function SaleActions({ sale }) {
  if (!may('operator')) return null;
  const now = secondNow.value + saleOffsetMs(sale);
  const { key } = saleStateOf({ ...rowOf(sale), archivedAt: sale.archivedAt }, now);
  // A status that the sale's clock has ended is not in `status`.
  const actions = ACTIONS_BY_STATE[key];
  const canChange = key !== 'ended' && key !== 'archived';
  return html`
    ${actions.map((action) => html`<${ActionButton} key=${action} action=${action} sale=${sale} />`)}
    ${canChange && html`<a class="button" href=${linkTo(['sales', sale.saleId, 'edit'])}>Edit</a>`}
  `;
}

/** @param {{ action: SaleAction, sale: Sale }} props */
export function ActionButton({ action, sale }) {
  const { button, tone } = SALE_ACTIONS[action];
  const open = () => showDialog(html`<${SaleActionDialog} action=${action} known=${sale} />`);
  return html`<button type="button" class=${tone} onClick=${open}>${button}</button>`;
}

/** @param {{ sale: Sale, sku: Sku }} props */
export function StockAction({ sale, sku }) {
  if (!may('operator') || sale.status === 'ended' || sale.archivedAt) return null;
  const open = () => showDialog(html`<${StockDialog} known=${sale} skuId=${sku.sku} />`);
  return html`<button type="button" class="small" onClick=${open}>
    Stock<span class="visually-hidden"> of ${sku.name}</span>
  </button>`;
}
