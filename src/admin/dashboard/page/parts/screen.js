/** What every screen begins with: its heading, which gets the focus when the address has changed, and its title. */
import { useEffect, useRef } from 'preact/hooks';
import { html } from '../core/html.js';
import { navigations } from '../core/router.js';

/**
 * @param {object} props
 * @param {string} props.title Of the document.
 * @param {any} [props.heading] Default: the title.
 * @param {any} [props.above] Before the heading: where the screen is.
 * @param {any} [props.beside] Beside the heading: actions.
 * @param {any} props.children
 */
export function Screen({ title, heading = title, above, beside, children }) {
  const headingRef = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (navigations.peek() === 0) return;
    scrollTo(0, 0);
    headingRef.current?.focus();
  }, []);
  useEffect(() => {
    document.title = `${title} · flash-sale`;
  }, [title]);
  return html`
    ${above}
    <div class="screen-head">
      <h1 tabindex="-1" ref=${headingRef}>${heading}</h1>
      ${beside && html`<div class="actions">${beside}</div>`}
    </div>
    ${children}
  `;
}

/**
 * Where a screen is, as links to what contains it.
 *
 * @param {{ trail: { href: string, text: string }[] }} props
 */
export function Breadcrumbs({ trail }) {
  return html`<nav class="breadcrumbs" aria-label="Breadcrumbs">
    <ol>
      ${trail.map(({ href, text }) => html`<li><a href=${href}>${text}</a></li>`)}
    </ol>
  </nav>`;
}
