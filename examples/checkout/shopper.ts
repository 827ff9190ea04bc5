/** The buyer at the checkout page, simulated: takes a while to find the card, or leaves. */
import { chanceOf } from './chance.ts';

export class Shopper {
  readonly #abandoning: number;
  readonly #thinkingMs: number;

  /** `abandoning` is the share of those who never pay; the others take up to `thinkingMs`. */
  constructor(behaviour: { abandoning: number; thinkingMs: number }) {
    this.#abandoning = behaviour.abandoning;
    this.#thinkingMs = behaviour.thinkingMs;
  }

  abandons(reservationId: string): boolean {
    return chanceOf(reservationId, 'abandons') < this.#abandoning;
  }

  thinksMs(reservationId: string): number {
    return this.#thinkingMs * (0.5 + chanceOf(reservationId, 'thinks') / 2);
  }
}
