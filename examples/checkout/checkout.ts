/**
 * From a reservation to its end, once for each id:
 *
 *   waiting ──paid──▶ confirmed, or refunded where the hold was over before we could confirm
 *      ├──refused──▶ cancelled
 *      ├──nobody pays──▶ abandoned; the hold ends by itself
 *      └──we heard of it when its hold was over──▶ missed; nobody is charged
 *
 * All of it is in memory. What a crash forgets, `resume` finds again at the engine, and neither the provider nor the
 * engine does anything twice.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { MerchantApi, Reservation } from './merchant-api.ts';
import type { ChargeAnswer, PaymentProvider } from './payment-provider.ts';
import type { Shopper } from './shopper.ts';

const STATES = [
  'waiting',
  'confirmed',
  'cancelled',
  'abandoned',
  'missed',
  'refunded',
  'failed',
] as const;
export type PaymentState = (typeof STATES)[number];

/** A hold that ends sooner than this, with its payment still open, is extended. */
const EXTEND_BEFORE_END_MS = 8_000;
const ASK_AGAIN_MS = 500;

export interface CheckoutParts {
  engine: MerchantApi;
  provider: PaymentProvider;
  shopper: Shopper;
}

export class Checkout {
  readonly #parts: CheckoutParts;
  readonly #stopping: AbortSignal;
  readonly #states = new Map<string, PaymentState>();
  #extended = 0;

  constructor(parts: CheckoutParts, stopping: AbortSignal) {
    this.#parts = parts;
    this.#stopping = stopping;
  }

  /** Begins to settle a reservation, unless it has begun already. Returns at once. */
  accept(reservation: Reservation): void {
    const { reservationId } = reservation;
    const state = this.#states.get(reservationId) ?? 'failed';
    if (state !== 'failed') return;
    this.#states.set(reservationId, 'waiting');
    this.#settle(reservation).then(
      (reached) => this.#states.set(reservationId, reached),
      (error: unknown) => {
        if (this.#stopping.aborted) return;
        // Until somebody tells of it again, it is a case for people.
        this.#states.set(reservationId, 'failed');
        console.error(`${reservationId} was not settled:`, error);
      },
    );
  }

  /** Somebody cancelled it at the engine, perhaps after it was paid for: then the money goes back, too. */
  async refund({ reservationId }: Reservation): Promise<void> {
    await this.#parts.provider.refund(reservationId);
  }

  /** Takes up what is still reserved: it was accepted by a process that is no more, or its webhook never came. */
  async resume(saleId: string | undefined): Promise<void> {
    for await (const reservation of this.#parts.engine.reserved(saleId, this.#stopping)) {
      this.accept(reservation);
    }
  }

  /** How many payments are in each state; how many holds were extended; how many payments the provider has kept. */
  get counts(): Record<PaymentState | 'extended' | 'kept', number> {
    const counts = Object.fromEntries(STATES.map((state) => [state, 0])) as Record<
      PaymentState,
      number
    >;
    for (const state of this.#states.values()) counts[state] += 1;
    return { ...counts, extended: this.#extended, kept: this.#parts.provider.kept };
  }

  async #settle(reservation: Reservation): Promise<PaymentState> {
    const { engine, provider, shopper } = this.#parts;
    const { reservationId } = reservation;
    if (shopper.abandons(reservationId)) return 'abandoned';
    await this.#pause(shopper.thinksMs(reservationId));
    if (Date.parse(reservation.expiresAt) < Date.now()) return 'missed';
    const charge = await this.#charge(reservation);
    if (charge.outcome === 'refused') {
      await engine.cancel(reservationId, 'payment refused', this.#stopping);
      return 'cancelled';
    }
    const confirmed = await engine.confirm(reservationId, charge.paymentRef, this.#stopping);
    if (confirmed.outcome === 'done') return 'confirmed';
    await provider.refund(reservationId);
    return 'refunded';
  }

  /** Asks until the provider knows, and keeps the goods for so long. */
  async #charge(
    reservation: Reservation,
  ): Promise<Exclude<ChargeAnswer, { outcome: 'no_answer' }>> {
    const { engine, provider } = this.#parts;
    const { reservationId } = reservation;
    let isExtended = false;
    for (;;) {
      const answer = await provider.charge(reservationId, reservation);
      if (answer.outcome !== 'no_answer') return answer;
      const leftMs = Date.parse(reservation.expiresAt) - Date.now();
      if (!isExtended && leftMs < EXTEND_BEFORE_END_MS) {
        isExtended = true;
        // Refused means over already: then there is a refund to come, or nothing.
        const extended = await engine.extend(reservationId, this.#stopping);
        if (extended.outcome === 'done') this.#extended += 1;
      }
      await this.#pause(ASK_AGAIN_MS);
    }
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stopping });
  }
}
