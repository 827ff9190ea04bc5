/**
 * Addresses of the page. They are in the URL's fragment, `#/sales/phones?…`, which browsers do not send to the server, so
 * one document serves all of them.
 */
import { signal } from '@preact/signals';

/**
 * @typedef {object} Route
 * @property {string} path
 * @property {string[]} segments
 * @property {URLSearchParams} query
 */

/** @type {import('@preact/signals').Signal<Route>} */
export const route = signal(parse(location.hash));

/** How often the address has changed: the first screen leaves the focus where the browser put it. */
export const navigations = signal(0);

addEventListener('hashchange', () => {
  const next = parse(location.hash);
  const isOtherScreen = next.path !== route.value.path;
  route.value = next;
  if (isOtherScreen) navigations.value += 1;
});

/** @param {string} hash @returns {Route} */
function parse(hash) {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?', 2);
  return {
    path,
    segments: path.split('/').filter(Boolean).map(decode),
    query: new URLSearchParams(query),
  };
}

/** @param {string} segment */
function decode(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/**
 * The address of a screen: `linkTo(['sales', 'phones'], { status: 'open' })`. Empty values are left out.
 *
 * @param {string[]} segments
 * @param {Record<string, string | undefined>} [query]
 */
export function linkTo(segments, query = {}) {
  const path = segments.map(encodeURIComponent).join('/');
  const known = Object.entries(query).filter(([, value]) => value !== undefined && value !== '');
  const search = new URLSearchParams(/** @type {[string, string][]} */ (known)).toString();
  return `#/${path}${search === '' ? '' : `?${search}`}`;
}

/** @param {string} link */
export function navigate(link) {
  location.hash = link;
}

/** Without an entry in the browser's history: nothing of the present address is kept. @param {string} link */
export function replaceRoute(link) {
  history.replaceState(null, '', link);
  route.value = parse(location.hash);
}
