/**
 * A set of 32-bit fingerprints, 8 to 16 bytes each. It has no false negatives. With a million buyers, about one in 4,000
 * lookups of other buyers is a false positive.
 */
import { randomInt } from 'node:crypto';

const SLOTS_BITS_MIN = 4;
const EMPTY = 0;
/**
 * Odd, and random per process: everybody can compute fingerprints, and nobody shall choose buyers that share their slots.
 * The high bits of the product choose the slot, so slots keep their order when the table grows.
 */
const MULTIPLIER = randomInt(2 ** 31) * 2 + 1;

export class MembershipFilter {
  /** Open addressing, at most half full. */
  #slots = new Int32Array(2 ** SLOTS_BITS_MIN);
  #shift = 32 - SLOTS_BITS_MIN;
  #used = 0;

  get size(): number {
    return this.#used;
  }

  add(fingerprint: number): void {
    if (this.#used * 2 >= this.#slots.length) this.#grow();
    this.#put(fingerprint);
  }

  has(fingerprint: number): boolean {
    return this.#slots[this.#slotOf(fingerprint)] === fingerprint;
  }

  #put(fingerprint: number): void {
    const slot = this.#slotOf(fingerprint);
    if (this.#slots[slot] === EMPTY) this.#used++;
    this.#slots[slot] = fingerprint;
  }

  /** The slot that holds the fingerprint, or the free slot where it belongs. */
  #slotOf(fingerprint: number): number {
    const mask = this.#slots.length - 1;
    let slot = Math.imul(fingerprint, MULTIPLIER) >>> this.#shift;
    while (this.#slots[slot] !== fingerprint && this.#slots[slot] !== EMPTY) {
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  #grow(): void {
    const before = this.#slots;
    this.#slots = new Int32Array(before.length * 2);
    this.#shift -= 1;
    this.#used = 0;
    for (const fingerprint of before) if (fingerprint !== EMPTY) this.#put(fingerprint);
  }
}
