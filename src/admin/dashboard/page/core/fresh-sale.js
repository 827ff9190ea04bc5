/** The numbers of a sale for a dialog, which says what an action will do to it: read again every second. */
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { get, pathOf } from './api.js';

const INTERVAL_MS = 1_000;

/** @import { Sale } from './shapes.js' */

/** @param {Sale} known @returns {Sale} */
export function useFreshSale(known) {
  const sale = useSignal(known);
  useEffect(() => {
    let isOpen = true;
    /** @type {number | undefined} */
    let timer;
    const read = async () => {
      try {
        const current = await get(pathOf('sales', known.saleId));
        if (isOpen) sale.value = current;
      } catch {
        // The numbers that are shown stay; the action itself reports what is wrong.
      }
      if (isOpen) timer = setTimeout(read, INTERVAL_MS);
    };
    void read();
    return () => {
      isOpen = false;
      clearTimeout(timer);
    };
  }, [known.saleId]);
  return sale.value;
}
