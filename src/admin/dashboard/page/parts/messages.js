/** What is shown instead of content: an error with a way to try again, nothing yet, or nothing at all. */
import { html } from '../core/html.js';

/** @param {{ error: Error, onRetry?: () => void }} props */
export function ErrorMessage({ error, onRetry }) {
  const errors = 'errors' in error ? /** @type {any} */ (error).errors : [];
  return html`<div class="message bad" role="alert">
    <p>${error.message}</p>
    ${
      errors.length > 0 &&
      html`<ul>
        ${errors.map((/** @type {any} */ { field, message }) => html`<li>${field === '' ? '' : html`<code>${field}</code>${' '}`}${message}</li>`)}
      </ul>`
    }
    ${onRetry && html`<button type="button" onClick=${onRetry}>Try again</button>`}
  </div>`;
}

/** @param {{ what?: string }} props */
export function Loading({ what = 'Loading…' }) {
  return html`<p class="loading" role="status">${what}</p>`;
}

/** @param {{ children: any }} props */
function Empty({ children }) {
  return html`<div class="empty">${children}</div>`;
}

/**
 * The rows of a listing with its button for more; `render` gets rows that exist.
 *
 * @param {object} props
 * @param {import('../core/listing.js').Listing<any>} props.listing
 * @param {any} props.empty
 * @param {(rows: any[]) => any} props.render
 */
export function ListingView({ listing, empty, render }) {
  const { rows, isLoading, error, hasMore, more } = listing;
  return html`
    ${rows && rows.length > 0 && render(rows)}
    ${rows?.length === 0 && !isLoading && html`<${Empty}>${empty}<//>`}
    ${!rows && isLoading && html`<${Loading} />`}
    ${error && html`<${ErrorMessage} error=${error} onRetry=${more} />`}
    ${
      hasMore &&
      !error &&
      html`<p class="more">
        <button type="button" onClick=${more} aria-disabled=${isLoading}>
          ${isLoading ? 'Loading…' : 'Show more'}
        </button>
      </p>`
    }
  `;
}
