/**
 * The keys of purchases whose outcome is not known, by SKU. They outlive a reload of the page, so that the next press of
 * the button asks for the same purchase instead of making another one.
 */
import { newKey } from '../../../clients/typescript/src/index.ts';

/** By buyer: another buyer's purchase is another one. */
function nameOf(buyerId: string, sku: string): string {
  return `purchase ${buyerId} ${sku}`;
}

export function takeKey(buyerId: string, sku: string): string {
  const name = nameOf(buyerId, sku);
  const key = sessionStorage.getItem(name) ?? newKey();
  sessionStorage.setItem(name, key);
  return key;
}

export function dropKey(buyerId: string, sku: string): void {
  sessionStorage.removeItem(nameOf(buyerId, sku));
}
