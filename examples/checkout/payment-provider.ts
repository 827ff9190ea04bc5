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

/** People choose a test card; `any` leaves the result to chance. */
export type Card = 'any' | 'works' | 'refused';

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
  /** Minor units; of a payment that was not refunded, the total. */
  kept: number;
}

export class PaymentProvider {
  readonly #rates: FailureRates;
  readonly #charges = new Map<string, Charge>();
  readonly #lostRequests = new Set<string>();

  constructor(rates: FailureRates) {
    this.#rates = rates;
  }

  async charge(
    key: string,
    { total }: { total: number; currency: string },
    card: Card = 'any',
  ): Promise<ChargeResult> {
    // As with real ones, another card can follow a refused one.
    if (card === 'refused') return { outcome: 'refused' };
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
      kept: total,
    };
    this.#charges.set(key, charge);
    if (isLost && !isRequestLost && !known) return this.#timeOut();
    const waitMs = charge.decidedAtMs - Date.now();
    if (waitMs > TIMEOUT_MS) return this.#timeOut();
    if (waitMs > 0) await sleep(waitMs);
    if (card === 'any' && chanceOf(key, 'refused') < this.#rates.refused) {
      return { outcome: 'refused' };
    }
    charge.isPaid = true;
    return { outcome: 'paid', paymentRef: `pay_${key}` };
  }

  /** The number of payments of which money is left. */
  get kept(): number {
    return this.#keptCharges().length;
  }

  /** The money that is left, in minor units. */
  get keptTotal(): number {
    return this.#keptCharges().reduce((sum, { kept }) => sum + kept, 0);
  }

  /** Refunds what exceeds `keeping`, if there is a charge. Repeating it has no further effect. */
  async refund(key: string, { keeping = 0 }: { keeping?: number } = {}): Promise<void> {
    const charge = this.#charges.get(key);
    if (charge) charge.kept = Math.min(charge.kept, keeping);
  }

  #keptCharges(): Charge[] {
    return [...this.#charges.values()].filter(({ isPaid, kept }) => isPaid && kept > 0);
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
