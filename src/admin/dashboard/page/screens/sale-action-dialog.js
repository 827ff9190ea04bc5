/** What each action does to a sale, said in the numbers of this moment before it is done. */
import { change, pathOf } from '../core/api.js';
import { saleOffsetMs, serverNow } from '../core/clock.js';
import { formatCount, formatDateTime, formatDuration, formatUnits } from '../core/format.js';
import { useFreshSale } from '../core/fresh-sale.js';
import { html } from '../core/html.js';
import { totalsOf } from '../core/live.js';
import { linkTo, navigate } from '../core/router.js';
import { ActionDialog } from '../parts/dialog.js';

/** @import { Sale } from '../core/shapes.js' */

/** @typedef {'open' | 'pause' | 'resume' | 'end' | 'archive' | 'recover' | 'delete'} SaleAction */

/** @type {Record<SaleAction, { button: string, tone: 'danger' | 'primary' | 'plain', title: string, confirm: string, done: string }>} */
export const SALE_ACTIONS = {
  open: {
    button: 'Open',
    tone: 'primary',
    title: 'Open the sale?',
    confirm: 'Open the sale',
    done: 'The sale is open.',
  },
  pause: {
    button: 'Pause',
    tone: 'plain',
    title: 'Pause the sale?',
    confirm: 'Pause the sale',
    done: 'The sale is paused.',
  },
  resume: {
    button: 'Resume',
    tone: 'primary',
    title: 'Resume the sale?',
    confirm: 'Resume the sale',
    done: 'The sale is open again.',
  },
  end: {
    button: 'End',
    tone: 'danger',
    title: 'End the sale for good?',
    confirm: 'End the sale for good',
    done: 'The sale has ended.',
  },
  archive: {
    button: 'Archive',
    tone: 'plain',
    title: 'Archive the sale?',
    confirm: 'Archive the sale',
    done: 'The sale is archived.',
  },
  recover: {
    button: 'Recover',
    tone: 'plain',
    title: 'Rebuild the sale in Redis?',
    confirm: 'Close and rebuild the sale',
    done: 'The recovery is requested.',
  },
  delete: {
    button: 'Delete',
    tone: 'danger',
    title: 'Delete the draft?',
    confirm: 'Delete the draft',
    done: 'The draft is deleted.',
  },
};

/** @param {{ action: SaleAction, known: Sale }} props */
export function SaleActionDialog({ action, known }) {
  const sale = useFreshSale(known);
  const { title, confirm, tone, done } = SALE_ACTIONS[action];
  const run = async () => {
    await request(action, sale.saleId);
    if (action === 'delete') navigate(linkTo(['sales']));
    return done;
  };
  return html`<${ActionDialog} title=${title} confirm=${confirm} tone=${tone === 'danger' ? 'danger' : 'primary'} run=${run}>
    <p class="subject"><strong>${sale.name}</strong> <code>${sale.saleId}</code></p>
    <ul class="effects">
      ${effectsOf(action, sale).map((effect) => html`<li>${effect}</li>`)}
    </ul>
  <//>`;
}

/** @param {SaleAction} action @param {string} saleId */
function request(action, saleId) {
  if (action === 'delete') return change('DELETE', pathOf('sales', saleId));
  return change('POST', pathOf('sales', saleId, action));
}

/** @param {SaleAction} action @param {Sale} sale @returns {string[]} */
function effectsOf(action, sale) {
  const { loaded, remaining, held, confirmed, waiting } = totalsOf(sale.skus);
  const left = `${formatCount(remaining)} of ${formatUnits(loaded, 'unit')}`;
  const holdSeconds = Math.max(sale.holdSeconds, sale.waitlistHoldSeconds);
  const holds =
    held === 0
      ? 'No unit is held now.'
      : `${formatUnits(held, 'held unit')} can still be confirmed; the holds end within ${formatDuration(holdSeconds)}, unless they are extended.`;
  switch (action) {
    case 'open':
      return [
        startsInFuture(sale)
          ? `Buyers can buy ${formatUnits(remaining, 'unit')} from ${formatDateTime(sale.startsAt)} on.`
          : `Buyers can buy ${formatUnits(remaining, 'unit')} at once.`,
        `Each buyer can have ${formatUnits(sale.perBuyerLimit, 'unit')}; a hold lasts ${formatDuration(sale.holdSeconds)}.`,
        sale.endsAt === null
          ? 'It has no end: it sells until you end it.'
          : `It ends by itself at ${formatDateTime(sale.endsAt)}.`,
        'It cannot become a draft again.',
      ];
    case 'pause':
      return [
        `Nobody can buy until you resume it: ${left} are left.`,
        holds,
        waitlistText(waiting, 'keeps its order', 'keep their order'),
      ];
    case 'resume':
      return [
        `${formatUnits(remaining, 'unit is', 'units are')} on sale again at once${waiting ? ', first for the waitlist' : ''}.`,
        waitlistText(waiting, 'is served first', 'are served first'),
      ];
    case 'end':
      return [
        `Ends the sale for good: ${left} unsold return to you.`,
        holds,
        waitlistText(waiting, 'gets nothing', 'get nothing'),
        'It cannot be undone, and the stock cannot change any more.',
      ];
    case 'archive':
      return [
        `PostgreSQL keeps everything: ${formatUnits(confirmed, 'confirmed unit')} of ${formatCount(loaded)}. Redis keeps a marker only.`,
        held === 0
          ? 'All holds are settled.'
          : `${formatUnits(held, 'unit is', 'units are')} still held: it is refused until they are settled.`,
        'The verification must pass first, which takes some seconds for a large sale.',
        'Confirming, refunding, searching and exporting go on. It cannot be undone.',
      ];
    case 'recover':
      return [
        'Sales recover by themselves. This is for a sale that was damaged by hand.',
        'Nobody can buy for some seconds. Buyers are asked to try again.',
        `Redis gets ${formatUnits(loaded, 'loaded unit')}, ${formatCount(confirmed)} confirmed and ${formatCount(held)} held, from PostgreSQL.`,
        'Positions that may be known to buyers are skipped.',
      ];
    case 'delete':
      return [
        `Deletes ${formatUnits(sale.skus.length, 'SKU')} with ${formatUnits(loaded, 'unit')}. No buyer has seen them.`,
        'The audit keeps its entries.',
      ];
    default:
      return action;
  }
}

/** @param {number | null} waiting @param {string} one @param {string} many */
function waitlistText(waiting, one, many) {
  if (!waiting) return 'Nobody is on the waitlist.';
  return waiting === 1
    ? `1 buyer on the waitlist ${one}.`
    : `${formatCount(waiting)} buyers on the waitlist ${many}.`;
}

/** @param {Sale} sale */
function startsInFuture(sale) {
  return sale.startsAt !== null && Date.parse(sale.startsAt) > serverNow() + saleOffsetMs(sale);
}
