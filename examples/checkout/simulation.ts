/** Simulated chance and a simulated buyer. */
import { createHash } from 'node:crypto';

/** From 0 to just below 1. It depends only on the id and the purpose, so a restart or a repeated request gets the same. */
export function chanceOf(id: string, purpose: string): number {
  const digest = createHash('sha256').update(`${purpose}:${id}`).digest();
  return digest.readUInt32BE(0) / 2 ** 32;
}

/** The buyer at the checkout page, who pays after a while or leaves. */
export class Shopper {
  readonly #abandoning: number;
  readonly #thinkingMs: number;
  readonly #peoplePrefix: string | undefined;

  /**
   * `abandoning` is the share of shoppers who never pay; the others take up to `thinkingMs`. Buyers whose id begins with
   * `peoplePrefix` are people, who are not simulated.
   */
  constructor(behaviour: { abandoning: number; thinkingMs: number; peoplePrefix?: string }) {
    this.#abandoning = behaviour.abandoning;
    this.#thinkingMs = behaviour.thinkingMs;
    this.#peoplePrefix = behaviour.peoplePrefix;
  }

  isPerson(buyerId: string): boolean {
    return this.#peoplePrefix !== undefined && buyerId.startsWith(this.#peoplePrefix);
  }

  abandons(reservationId: string): boolean {
    return chanceOf(reservationId, 'abandons') < this.#abandoning;
  }

  thinksMs(reservationId: string): number {
    return this.#thinkingMs * (0.5 + chanceOf(reservationId, 'thinks') / 2);
  }
}
