/**
 * A payment provider, simulated with what makes real ones hard: it takes its time, refuses some, and now and then the
 * caller hears nothing, while the charge has gone through, or been refused, or never arrived. Its promise is that of
 * real ones, too: charges with the same key are one charge.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { chanceOf } from './chance.ts';

/** `no_answer`: nobody knows; asking again with the same key tells. */
export type ChargeAnswer =
  | { outcome: 'paid'; paymentRef: string }
  | { outcome: 'refused' }
  | { outcome: 'no_answer' };

export interface Misfortune {
  /** Shares of all charges. */
  refused: number;
  /** The first request or its reply gets lost. */
  lost: number;
  /** Takes `slowMs`. */
  slow: number;
  slowMs: number;
}

const TIMEOUT_MS = 1_000;
const USUAL_MS_MIN = 50;
const USUAL_MS_MAX = 200;

interface Charge {
  decidedAtMs: number;
  isPaid: boolean;
  isRefunded: boolean;
}

export class PaymentProvider {
  readonly #misfortune: Misfortune;
  readonly #charges = new Map<string, Charge>();
  readonly #lostRequests = new Set<string>();

  constructor(misfortune: Misfortune) {
    this.#misfortune = misfortune;
  }

  async charge(key: string, _amount: { total: number; currency: string }): Promise<ChargeAnswer> {
    const isLost = chanceOf(key, 'lost') < this.#misfortune.lost;
    const isRequestLost = isLost && chanceOf(key, 'which') < 0.5;
    if (isRequestLost && !this.#lostRequests.has(key)) {
      this.#lostRequests.add(key);
      return this.#silence();
    }
    const known = this.#charges.get(key);
    const charge = known ?? {
      decidedAtMs: Date.now() + this.#delayMs(key),
      isPaid: false,
      isRefunded: false,
    };
    this.#charges.set(key, charge);
    if (isLost && !isRequestLost && !known) return this.#silence();
    const waitMs = charge.decidedAtMs - Date.now();
    if (waitMs > TIMEOUT_MS) return this.#silence();
    if (waitMs > 0) await sleep(waitMs);
    if (chanceOf(key, 'refused') < this.#misfortune.refused) return { outcome: 'refused' };
    charge.isPaid = true;
    return { outcome: 'paid', paymentRef: `pay_${key}` };
  }

  /** Payments taken and not given back. */
  get kept(): number {
    let count = 0;
    for (const { isPaid, isRefunded } of this.#charges.values()) {
      if (isPaid && !isRefunded) count += 1;
    }
    return count;
  }

  /** Gives the money back, if any was taken; twice is once. */
  async refund(key: string): Promise<void> {
    const charge = this.#charges.get(key);
    if (charge) charge.isRefunded = true;
  }

  #delayMs(key: string): number {
    if (chanceOf(key, 'slow') < this.#misfortune.slow) return this.#misfortune.slowMs;
    return USUAL_MS_MIN + chanceOf(key, 'delay') * (USUAL_MS_MAX - USUAL_MS_MIN);
  }

  async #silence(): Promise<ChargeAnswer> {
    await sleep(TIMEOUT_MS);
    return { outcome: 'no_answer' };
  }
}
