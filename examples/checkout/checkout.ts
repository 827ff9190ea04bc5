/**
 * Settles each reservation once per id:
 *
 *   waiting ──paid──▶ confirmed, or refunded if the hold ended before the confirmation
 *      ├──refused──▶ cancelled
 *      ├──shopper leaves──▶ abandoned; the hold ends by itself
 *      └──hold had ended already──▶ missed; nothing is charged
 *
 * A person at the shop front pays by `pay`, and can try another card. Everyone else is simulated.
 *
 * All state is in memory. After a crash, `resume` gets the open reservations from the engine; the provider and the
 * engine do nothing twice.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { MerchantApi, Reservation } from './merchant-api.ts';
import type { Card, ChargeResult, PaymentProvider } from './payment-provider.ts';
import type { Shopper } from './simulation.ts';

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

/** `ended`: the hold had ended; nothing was charged. `refunded`: it ended during the payment. */
export type PersonPayment = 'confirmed' | 'refused' | 'refunded' | 'ended' | 'not_found';

/** While its payment is open, a hold that ends sooner than this is extended. */
const EXTEND_BEFORE_END_MS = 8_000;
const RETRY_MS = 500;

export interface CheckoutContext {
  engine: MerchantApi;
  provider: PaymentProvider;
  shopper: Shopper;
}

export class Checkout {
  readonly #context: CheckoutContext;
  readonly #stopping: AbortSignal;
  readonly #states = new Map<string, PaymentState>();
  /** Payments of people, by reservation. A second click gets the result of the first. */
  readonly #paying = new Map<string, Promise<PersonPayment>>();
  #extended = 0;

  constructor(context: CheckoutContext, stopping: AbortSignal) {
    this.#context = context;
    this.#stopping = stopping;
  }

  /** Starts to settle a reservation unless that has started, and returns at once. */
  accept(reservation: Reservation): void {
    const { reservationId, buyerId } = reservation;
    if (this.#context.shopper.isPerson(buyerId)) return;
    const state = this.#states.get(reservationId) ?? 'failed';
    if (state !== 'failed') return;
    this.#states.set(reservationId, 'waiting');
    this.#settle(reservation).then(
      (reached) => this.#states.set(reservationId, reached),
      (error: unknown) => {
        if (this.#stopping.aborted) return;
        // Remains failed until a webhook or a resume delivers it again.
        this.#states.set(reservationId, 'failed');
        console.error(`${reservationId} was not settled:`, error);
      },
    );
  }

  /** A person pays their own reservation. Repeating it charges once. */
  pay(reservationId: string, buyerId: string, card: Card): Promise<PersonPayment> {
    const paying =
      this.#paying.get(reservationId) ??
      this.#payOnce(reservationId, buyerId, card).finally(() => this.#paying.delete(reservationId));
    this.#paying.set(reservationId, paying);
    return paying;
  }

  /** Refunds a payment whose reservation was cancelled at the engine. */
  async refund({ reservationId }: Reservation): Promise<void> {
    await this.#context.provider.refund(reservationId);
  }

  /**
   * Refunds what a payment exceeds its reservation by, after a part was cancelled. The total of a reservation only
   * falls, so repeated and late messages refund nothing twice.
   */
  async refundPart({ reservationId, total }: Reservation): Promise<void> {
    await this.#context.provider.refund(reservationId, { keeping: total });
  }

  /** Accepts all reservations that are still reserved: a crashed process accepted them, or their webhook never came. */
  async resume(saleId: string | undefined): Promise<void> {
    for await (const reservation of this.#context.engine.reserved(saleId, this.#stopping)) {
      this.accept(reservation);
    }
  }

  /**
   * The number of payments in each state, of extended holds, and of payments that were not refunded; `keptTotal` is the
   * money of those, in minor units.
   */
  get counts(): Record<PaymentState | 'extended' | 'kept' | 'keptTotal', number> {
    const counts = Object.fromEntries(STATES.map((state) => [state, 0])) as Record<
      PaymentState,
      number
    >;
    for (const state of this.#states.values()) counts[state] += 1;
    const { kept, keptTotal } = this.#context.provider;
    return { ...counts, extended: this.#extended, kept, keptTotal };
  }

  async #settle(reservation: Reservation): Promise<PaymentState> {
    const { engine, shopper } = this.#context;
    const { reservationId } = reservation;
    if (shopper.abandons(reservationId)) return 'abandoned';
    await this.#pause(shopper.thinksMs(reservationId));
    if (Date.parse(reservation.expiresAt) < Date.now()) return 'missed';
    const charge = await this.#charge(reservation);
    if (charge.outcome === 'refused') {
      await engine.cancel(reservationId, 'payment refused', this.#stopping);
      return 'cancelled';
    }
    return this.#confirm(reservationId, charge.paymentRef);
  }

  async #payOnce(reservationId: string, buyerId: string, card: Card): Promise<PersonPayment> {
    const reservation = await this.#context.engine.reservation(reservationId, this.#stopping);
    if (reservation?.buyerId !== buyerId) return 'not_found';
    if (reservation.status === 'confirmed') return 'confirmed';
    if (reservation.status !== 'reserved') return 'ended';
    const charge = await this.#charge(reservation, card);
    if (charge.outcome === 'refused') return 'refused';
    const state = await this.#confirm(reservationId, charge.paymentRef);
    this.#states.set(reservationId, state);
    return state;
  }

  async #confirm(reservationId: string, paymentRef: string): Promise<'confirmed' | 'refunded'> {
    const { engine, provider } = this.#context;
    const confirmed = await engine.confirm(reservationId, paymentRef, this.#stopping);
    if (confirmed.outcome === 'done') {
      // A part may have been cancelled during the payment.
      await this.refundPart(confirmed.reservation);
      return 'confirmed';
    }
    await provider.refund(reservationId);
    return 'refunded';
  }

  /** Repeats the charge until the provider responds, and extends the hold meanwhile. */
  async #charge(
    reservation: Reservation,
    card: Card = 'any',
  ): Promise<Exclude<ChargeResult, { outcome: 'no_response' }>> {
    const { engine, provider } = this.#context;
    const { reservationId } = reservation;
    let isExtended = false;
    for (;;) {
      const result = await provider.charge(reservationId, reservation, card);
      if (result.outcome !== 'no_response') return result;
      const leftMs = Date.parse(reservation.expiresAt) - Date.now();
      if (!isExtended && leftMs < EXTEND_BEFORE_END_MS) {
        isExtended = true;
        // Refused if the hold has ended; then a successful charge is refunded later.
        const extended = await engine.extend(reservationId, this.#stopping);
        if (extended.outcome === 'done') this.#extended += 1;
      }
      await this.#pause(RETRY_MS);
    }
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stopping });
  }
}
