/** The dashboard of the admin: which screen an address has, and who may see it. */
import { effect, useSignal } from '@preact/signals';
import { render } from 'preact';
import { useEffect } from 'preact/hooks';
import { closeDialog } from './core/dialogs.js';
import { html } from './core/html.js';
import { linkTo, route } from './core/router.js';
import { hasEnded, loadSession, session } from './core/session.js';
import { DialogHost } from './parts/dialog.js';
import { Frame } from './parts/frame.js';
import { lazyScreen } from './parts/lazy-screen.js';
import { ErrorMessage, Loading } from './parts/messages.js';
import { Screen } from './parts/screen.js';
import { SalesScreen } from './screens/sales.js';
import { SignInDialog, SignInScreen } from './screens/sign-in.js';

const AuditScreen = lazyScreen(() =>
  import('./screens/audit.js').then((screens) => screens.AuditScreen),
);
const DeadLettersScreen = lazyScreen(() =>
  import('./screens/dead-letters.js').then((screens) => screens.DeadLettersScreen),
);
const RecoveriesScreen = lazyScreen(() =>
  import('./screens/recoveries.js').then((screens) => screens.RecoveriesScreen),
);
const ReservationScreen = lazyScreen(() =>
  import('./screens/reservation.js').then((screens) => screens.ReservationScreen),
);
const ReservationsScreen = lazyScreen(() =>
  import('./screens/reservations.js').then((screens) => screens.ReservationsScreen),
);
const SaleReservationsScreen = lazyScreen(() =>
  import('./screens/reservations.js').then((screens) => screens.SaleReservationsScreen),
);
const SaleScreenLive = lazyScreen(() =>
  import('./screens/sale.js').then((screens) => screens.SaleScreenLive),
);
const EditSaleScreen = lazyScreen(() =>
  import('./screens/sale-form.js').then((screens) => screens.EditSaleScreen),
);
const NewSaleScreen = lazyScreen(() =>
  import('./screens/sale-form.js').then((screens) => screens.NewSaleScreen),
);
const VerifyScreen = lazyScreen(() =>
  import('./screens/verify.js').then((screens) => screens.VerifyScreen),
);
const WebhookScreen = lazyScreen(() =>
  import('./screens/webhook.js').then((screens) => screens.WebhookScreen),
);
const WebhooksScreen = lazyScreen(() =>
  import('./screens/webhooks.js').then((screens) => screens.WebhooksScreen),
);

function App() {
  const error = useSignal(/** @type {Error | undefined} */ (undefined));
  const load = () => {
    error.value = undefined;
    loadSession().catch((failure) => {
      error.value = failure;
    });
  };
  useEffect(load, []);
  if (session.value === undefined) {
    return html`<main class="sign-in">
      ${error.value ? html`<${ErrorMessage} error=${error.value} onRetry=${load} />` : html`<${Loading} />`}
    </main>`;
  }
  const isSignInLink = route.value.segments[0] === 'sign-in';
  if (session.value === null || isSignInLink) return html`<${SignInScreen} />`;
  return html`
    <${Frame}><${CurrentScreen} key=${route.value.path} /><//>
    <${DialogHost} />
    ${hasEnded.value && html`<${SignInDialog} />`}
  `;
}

function CurrentScreen() {
  const [place, id = '', part] = route.value.segments;
  switch (place) {
    case undefined:
      return html`<${SalesScreen} />`;
    case 'sales':
      return id === '' ? html`<${SalesScreen} />` : saleScreen(id, part);
    case 'new-sale':
      return html`<${NewSaleScreen} />`;
    case 'reservations':
      return id === ''
        ? html`<${ReservationsScreen} />`
        : html`<${ReservationScreen} reservationId=${id} />`;
    case 'dead-letters':
      return html`<${DeadLettersScreen} />`;
    case 'webhooks':
      return id === '' ? html`<${WebhooksScreen} />` : html`<${WebhookScreen} webhookId=${id} />`;
    default:
      return html`<${UnknownScreen} />`;
  }
}

/** @param {string} saleId @param {string | undefined} part */
function saleScreen(saleId, part) {
  switch (part) {
    case undefined:
      return html`<${SaleScreenLive} saleId=${saleId} />`;
    case 'edit':
      return html`<${EditSaleScreen} saleId=${saleId} />`;
    case 'reservations':
      return html`<${SaleReservationsScreen} saleId=${saleId} />`;
    case 'verify':
      return html`<${VerifyScreen} saleId=${saleId} />`;
    case 'recoveries':
      return html`<${RecoveriesScreen} saleId=${saleId} />`;
    case 'audit':
      return html`<${AuditScreen} saleId=${saleId} />`;
    default:
      return html`<${UnknownScreen} />`;
  }
}

function UnknownScreen() {
  return html`<${Screen} title="Nothing here">
    <p>There is no such screen. <a href=${linkTo([])}>All sales</a></p>
  <//>`;
}

// A dialog belongs to the screen that it was opened on.
effect(() => {
  void route.value.path;
  closeDialog();
});
const root = document.getElementById('app');
if (root) render(html`<${App} />`, root);
