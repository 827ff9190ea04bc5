/**
 * A set of names that is told from their 32-bit hashes alone: 4 to 16 bytes a name, whatever its length. It never says
 * no to a name that is in it; it says yes to about one stranger in four thousand when a million are in it.
 */
import { randomInt } from 'node:crypto';

const PLACES_MIN = 1_024;
const EMPTY = 0;

export class Fingerprints {
  /** Open addressing, at most half full. */
  #places = new Uint32Array(PLACES_MIN);
  #taken = 0;
  readonly #seed = randomInt(2 ** 32);

  add(name: string): void {
    if (this.#taken * 2 >= this.#places.length) this.#grow();
    this.#put(this.#hash(name));
  }

  has(name: string): boolean {
    const hash = this.#hash(name);
    return this.#places[this.#placeOf(hash)] === hash;
  }

  #put(hash: number): void {
    const place = this.#placeOf(hash);
    if (this.#places[place] === EMPTY) this.#taken++;
    this.#places[place] = hash;
  }

  /** Where it is, or would be. */
  #placeOf(hash: number): number {
    const mask = this.#places.length - 1;
    let place = (hash ^ (hash >>> 15)) & mask;
    while (this.#places[place] !== hash && this.#places[place] !== EMPTY)
      place = (place + 1) & mask;
    return place;
  }

  #grow(): void {
    const before = this.#places;
    this.#places = new Uint32Array(before.length * 2);
    this.#taken = 0;
    for (const hash of before) if (hash !== EMPTY) this.#put(hash);
  }

  /** FNV-1a; never 0. */
  #hash(name: string): number {
    let hash = this.#seed;
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    return (hash ^ (hash >>> 13)) >>> 0 || 1;
  }
}
