/** A listing of the API, page by page: the rows so far, whether there are more, and what went wrong. */
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { get } from './api.js';

/**
 * @template Row
 * @typedef {object} Listing
 * @property {Row[] | undefined} rows Undefined until the first page has arrived.
 * @property {boolean} isLoading
 * @property {Error | undefined} error
 * @property {boolean} hasMore
 * @property {() => void} more Loads the next page, or repeats a page that failed.
 * @property {() => void} reload From the first page.
 */

/**
 * Reads the listing, and reads it again when the path or the query changes.
 *
 * @template Row
 * @param {string} path
 * @param {Record<string, string | number | undefined>} [query]
 * @returns {Listing<Row>}
 */
export function useListing(path, query = {}) {
  const rows = useSignal(/** @type {Row[] | undefined} */ (undefined));
  const cursor = useSignal(/** @type {string | null} */ (null));
  const isLoading = useSignal(true);
  const error = useSignal(/** @type {Error | undefined} */ (undefined));
  const round = useSignal(0);
  const key = JSON.stringify([path, query]);

  const load = async (/** @type {string | null} */ from) => {
    round.value += 1;
    const mine = round.value;
    isLoading.value = true;
    error.value = undefined;
    try {
      const page = await get(path, { ...query, ...(from === null ? {} : { cursor: from }) });
      if (mine !== round.value) return;
      rows.value = from === null ? page.data : [...(rows.value ?? []), ...page.data];
      cursor.value = page.nextCursor;
    } catch (failure) {
      if (mine !== round.value) return;
      error.value = /** @type {Error} */ (failure);
    }
    isLoading.value = false;
  };

  useEffect(() => {
    rows.value = undefined;
    cursor.value = null;
    void load(null);
    return () => {
      round.value += 1;
    };
  }, [key]);

  return {
    rows: rows.value,
    isLoading: isLoading.value,
    error: error.value,
    hasMore: cursor.value !== null,
    more: () => void load(cursor.value),
    reload: () => void load(null),
  };
}

/**
 * Reads one thing, and reads it again when the path changes.
 *
 * @template T
 * @param {string} path
 */
export function useResource(path) {
  const value = useSignal(/** @type {T | undefined} */ (undefined));
  const error = useSignal(/** @type {Error | undefined} */ (undefined));
  const round = useSignal(0);

  const load = async () => {
    round.value += 1;
    const mine = round.value;
    error.value = undefined;
    try {
      const read = await get(path);
      if (mine === round.value) value.value = read;
    } catch (failure) {
      if (mine === round.value) error.value = /** @type {Error} */ (failure);
    }
  };

  useEffect(() => {
    value.value = undefined;
    void load();
    return () => {
      round.value += 1;
    };
  }, [path]);

  return {
    value: value.value,
    error: error.value,
    reload: () => void load(),
    replace: (/** @type {T} */ next) => {
      value.value = next;
    },
  };
}
