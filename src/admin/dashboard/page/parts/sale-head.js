/** The head of every screen of one sale: its name and the way to its other screens. */
import { apiUrl, pathOf } from '../core/api.js';
import { html } from '../core/html.js';
import { linkTo } from '../core/router.js';
import { Breadcrumbs, Screen } from './screen.js';

/** @type {[string | undefined, string][]} */
const TABS = [
  [undefined, 'Live'],
  ['reservations', 'Reservations'],
  ['verify', 'Verify'],
  ['recoveries', 'Recoveries'],
  ['audit', 'Audit'],
];

/**
 * @param {object} props
 * @param {string} props.saleId
 * @param {string | undefined} [props.name] Of the sale, when it is known.
 * @param {string | undefined} [props.tab] Absent: the live screen.
 * @param {string} props.what
 * @param {any} [props.beside]
 * @param {any} props.children
 */
export function SaleScreen({ saleId, name, tab, what, beside, children }) {
  const above = html`<${Breadcrumbs}
    trail=${[
      { href: linkTo(['sales']), text: 'Sales' },
      ...(tab === undefined ? [] : [{ href: linkTo(['sales', saleId]), text: name ?? saleId }]),
    ]}
  />`;
  const heading = tab === undefined ? (name ?? saleId) : what;
  return html`<${Screen} title="${what} · ${name ?? saleId}" heading=${heading} above=${above} beside=${beside}>
    <nav class="tabs" aria-label="This sale">
      <ul>
        ${TABS.map(
          ([path, text]) =>
            html`<li>
              <a
                href=${linkTo(path === undefined ? ['sales', saleId] : ['sales', saleId, path])}
                aria-current=${path === tab ? 'page' : undefined}
                >${text}</a
              >
            </li>`,
        )}
        <li><a href=${apiUrl('/reservations.csv', { saleId })} download>CSV <span aria-hidden="true">↓</span></a></li>
        <li><a href=${apiUrl(pathOf('sales', saleId, 'report'))} download>Report <span aria-hidden="true">↓</span></a></li>
      </ul>
    </nav>
    ${children}
  <//>`;
}
