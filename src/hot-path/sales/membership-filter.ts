/**
 * A set of names that is told from a hash of 32 bits alone: 4 to 16 bytes a name, whatever its length. It never says no
 * to a name that is in it; it says yes to about one stranger in four thousand when a million are in it.
 */
import type { HashedName } from '../admission/hashed-name.ts';

const PLACES_MIN = 1_024;
const EMPTY = 0;

export class MembershipFilter {
  /** Open addressing, at most half full. */
  #places = new Int32Array(PLACES_MIN);
  #taken = 0;

  add({ first }: HashedName): void {
    if (this.#taken * 2 >= this.#places.length) this.#grow();
    this.#put(first);
  }

  has({ first }: HashedName): boolean {
    return this.#places[this.#placeOf(first)] === first;
  }

  #put(hash: number): void {
    const place = this.#placeOf(hash);
    if (this.#places[place] === EMPTY) this.#taken++;
    this.#places[place] = hash;
  }

  /** Where it is, or would be. */
  #placeOf(hash: number): number {
    const mask = this.#places.length - 1;
    let place = hash & mask;
    while (this.#places[place] !== hash && this.#places[place] !== EMPTY)
      place = (place + 1) & mask;
    return place;
  }

  #grow(): void {
    const before = this.#places;
    this.#places = new Int32Array(before.length * 2);
    this.#taken = 0;
    for (const hash of before) if (hash !== EMPTY) this.#put(hash);
  }
}
