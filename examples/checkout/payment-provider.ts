/**
 * A simulated payment provider with the difficulties of real ones: it can be slow, refuse a charge, or not respond
 * although the charge succeeded, was refused or never arrived. As with real ones, charges with the same key are one.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { chanceOf } from './simulation.ts';

/** `no_response`: the outcome is unknown; a charge with the same key returns it. */
export type ChargeResult =
  | { outcome: 'paid'; paymentRef: string }
  | { outcome: 'refused' }
  | { outcome: 'no_response' };

export interface FailureRates {
  /** Shares of all charges, 0 to 1. */
  refused: number;
  /** The first request or its response is lost. */
  lost: number;
  /** The charge takes `slowMs`. */
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
  readonly #rates: FailureRates;
  readonly #charges = new Map<string, Charge>();
  readonly #lostRequests = new Set<string>();

  constructor(rates: FailureRates) {
    this.#rates = rates;
  }

  async charge(key: string, _amount: { total: number; currency: string }): Promise<ChargeResult> {
    const isLost = chanceOf(key, 'lost') < this.#rates.lost;
    const isRequestLost = isLost && chanceOf(key, 'which') < 0.5;
    if (isRequestLost && !this.#lostRequests.has(key)) {
      this.#lostRequests.add(key);
      return this.#timeOut();
    }
    const known = this.#charges.get(key);
    const charge = known ?? {
      decidedAtMs: Date.now() + this.#delayMs(key),
      isPaid: false,
      isRefunded: false,
    };
    this.#charges.set(key, charge);
    if (isLost && !isRequestLost && !known) return this.#timeOut();
    const waitMs = charge.decidedAtMs - Date.now();
    if (waitMs > TIMEOUT_MS) return this.#timeOut();
    if (waitMs > 0) await sleep(waitMs);
    if (chanceOf(key, 'refused') < this.#rates.refused) return { outcome: 'refused' };
    charge.isPaid = true;
    return { outcome: 'paid', paymentRef: `pay_${key}` };
  }

  /** How many payments were taken and not refunded. */
  get kept(): number {
    let count = 0;
    for (const { isPaid, isRefunded } of this.#charges.values()) {
      if (isPaid && !isRefunded) count += 1;
    }
    return count;
  }

  /** Refunds the charge, if there is one. Repeating it has no further effect. */
  async refund(key: string): Promise<void> {
    const charge = this.#charges.get(key);
    if (charge) charge.isRefunded = true;
  }

  #delayMs(key: string): number {
    if (chanceOf(key, 'slow') < this.#rates.slow) return this.#rates.slowMs;
    return USUAL_MS_MIN + chanceOf(key, 'delay') * (USUAL_MS_MAX - USUAL_MS_MIN);
  }

  async #timeOut(): Promise<ChargeResult> {
    await sleep(TIMEOUT_MS);
    return { outcome: 'no_response' };
  }
}
