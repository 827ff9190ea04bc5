/** Names and values beside each other, and times with their exact value. */
import { formatDateTime, formatExact, UNKNOWN } from '../core/format.js';
import { html } from '../core/html.js';

/** @param {{ facts: [name: string, value: any][] }} props */
export function Facts({ facts }) {
  return html`<dl class="facts">
    ${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value ?? UNKNOWN}</dd></div>`)}
  </dl>`;
}

/** @param {{ at: string | null | undefined, format?: (time: string) => string }} props */
export function Time({ at, format = formatDateTime }) {
  if (!at) return UNKNOWN;
  return html`<time datetime=${at} title=${formatExact(at)}>${format(at)}</time>`;
}

/** A table that scrolls sideways when it is wider than the screen. @param {{ caption: string, head: any[], children: any }} props */
export function Table({ caption, head, children }) {
  return html`<div class="table-scroll" tabindex="0" role="region" aria-label=${caption}>
    <table>
      <caption class="visually-hidden">
        ${caption}
      </caption>
      <thead>
        <tr>
          ${head.map((each) => html`<th scope="col">${each}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${children}
      </tbody>
    </table>
  </div>`;
}
