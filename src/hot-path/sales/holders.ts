/**
 * The buyers with reservations in one sale, as far as this process knows them. It knows the buyer at each ordinal of
 * some ranges of the sale's order: from announcements, and from reading the order. The order of a timeline only grows at
 * its end, so what is known of it stays true, however it was learnt; another timeline makes it void.
 *
 * A range that other scripts or older processes have filled, or whose announcement was lost, stays unknown until it is read.
 */
import { MembershipFilter } from './membership-filter.ts';

/** Above this limit, further ranges are forgotten. They are read, as all that is unknown. */
const RANGES_MAX = 100;

/** Ordinals from 0: the first one, and the one after the last. */
interface Range {
  from: number;
  to: number;
}

export class Holders {
  #timeline = 0;
  #buyers = new MembershipFilter();
  /** In ascending order; between two of them, holders are unknown. */
  #ranges: Range[] = [];

  get timeline(): number {
    return this.#timeline;
  }

  get size(): number {
    return this.#buyers.size;
  }

  /** How many entries at the start of the order are known. */
  get knownFromStart(): number {
    const first = this.#ranges[0];
    return first?.from === 0 ? first.to : 0;
  }

  /** Whether every buyer in the first `count` entries of this timeline's order is known. */
  areComplete(timeline: number, count: number): boolean {
    return timeline === this.#timeline && this.knownFromStart >= count;
  }

  /** A buyer with a reservation that is known always matches; another one does so by chance. */
  has(fingerprint: number): boolean {
    return this.#buyers.has(fingerprint);
  }

  /** These are the buyers from this ordinal on, in the order of this timeline. */
  add(timeline: number, ordinal: number, fingerprints: Int32Array): void {
    if (timeline !== this.#timeline) {
      this.forget();
      this.#timeline = timeline;
    }
    if (fingerprints.length === 0) return;
    for (const fingerprint of fingerprints) this.#buyers.add(fingerprint);
    this.#cover({ from: ordinal, to: ordinal + fingerprints.length });
  }

  /**
   * The next part to read of the first `count` entries of this timeline's order: at most `most` entries. It begins with
   * unknown ones, and ends before known ones.
   */
  nextUnknown(timeline: number, count: number, most: number): { skip: number; most: number } {
    const skip = timeline === this.#timeline ? this.knownFromStart : 0;
    const end = Math.min(count, skip + most);
    const known = this.#ranges.find(({ from, to }) => skip < from && from < end && end <= to);
    return { skip, most: Math.max(1, (known?.from ?? end) - skip) };
  }

  forget(): void {
    this.#buyers = new MembershipFilter();
    this.#ranges = [];
  }

  #cover(range: Range): void {
    const last = this.#ranges.at(-1);
    // Nearly always: the next batch.
    if (last?.to === range.from) {
      last.to = range.to;
      return;
    }
    const touching = this.#ranges.filter(({ from, to }) => from <= range.to && to >= range.from);
    const joined = {
      from: Math.min(range.from, ...touching.map(({ from }) => from)),
      to: Math.max(range.to, ...touching.map(({ to }) => to)),
    };
    this.#ranges = [
      ...this.#ranges.filter(({ to }) => to < range.from),
      joined,
      ...this.#ranges.filter(({ from }) => from > range.to),
    ].slice(0, RANGES_MAX);
  }
}
