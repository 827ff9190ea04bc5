/** The client of the buyers' API: one method for each operation. */
import { type LiveOptions, LiveSale } from './live-sale.ts';
import type { Basket, BuyResult, OperationId, Result } from './operations.ts';
import { type CallOptions, type RetryLimits, send } from './request.ts';
import { ServerClock } from './server-clock.ts';

export interface FlashSaleOptions extends Partial<RetryLimits> {
  /** The address of the hot path, such as `https://buy.example`. */
  url: string;
  /**
   * The buyer's token, or how to get it: it is called before each attempt. Undefined: only public operations work, or a
   * gateway adds the buyer.
   */
  token?: string | (() => string | undefined | Promise<string | undefined>) | undefined;
}

/** Longer than a restart or a recovery of the engine usually takes, and shorter than a buyer's patience. */
const LIMITS: RetryLimits = { attemptsMax: 10, totalMsMax: 30_000, responseMsMax: 10_000 };

export class FlashSale {
  /** The engine's time. Each `getSale` improves the estimate. */
  readonly clock: ServerClock = new ServerClock();
  readonly #url: string;
  readonly #token: FlashSaleOptions['token'];
  readonly #limits: RetryLimits;

  constructor({ url, token, ...limits }: FlashSaleOptions) {
    this.#url = url.replace(/\/+$/, '');
    this.#token = token;
    this.#limits = { ...LIMITS, ...limits };
  }

  /**
   * Reserves units. A request that is repeated has the same key, so that it takes effect once. To ask again after an
   * unknown outcome, pass the `key` of that result and the same basket.
   */
  async buy(
    saleId: string,
    basket: Basket = {},
    { key = newKey(), ...options }: CallOptions & { key?: string | undefined } = {},
  ): Promise<BuyResult> {
    const isEmpty = Object.keys(basket).length === 0;
    const result = await this.#call<'buy'>('POST', `/v1/sales/${part(saleId)}/buy`, options, {
      headers: { 'idempotency-key': key },
      body: isEmpty ? undefined : basket,
    });
    return { ...result, key };
  }

  /** The sale with its remaining units. */
  async getSale(saleId: string, options: CallOptions = {}): Promise<Result<'getSale'>> {
    // Of the attempt that succeeds, the latest one: a retry ends before the next attempt begins.
    let sentAt = performance.now();
    const noted = async () => {
      sentAt = performance.now();
    };
    const result = await this.#call<'getSale'>('GET', `/v1/sales/${part(saleId)}`, options, {
      isPublic: true,
      beforeAttempt: noted,
    });
    if (result.outcome === 'done') {
      this.clock.sample(result.value.serverTime, sentAt, performance.now());
    }
    return result;
  }

  /** The buyer's reservations and waits in this sale, and what the limits still allow. */
  getMine(saleId: string, options: CallOptions = {}): Promise<Result<'getMine'>> {
    return this.#call('GET', `/v1/sales/${part(saleId)}/me`, options);
  }

  /** A reservation of the buyer. */
  getReservation(
    reservationId: string,
    options: CallOptions = {},
  ): Promise<Result<'getReservation'>> {
    return this.#call('GET', `/v1/reservations/${part(reservationId)}`, options);
  }

  /** Releases a reservation that is not paid. */
  giveBack(reservationId: string, options: CallOptions = {}): Promise<Result<'giveBack'>> {
    return this.#call('POST', `/v1/reservations/${part(reservationId)}/cancel`, options);
  }

  /** Waits for units of a SKU, by default for one unit of the only SKU. */
  joinWaitlist(
    saleId: string,
    wanted: { sku?: string; quantity?: number } = {},
    options: CallOptions = {},
  ): Promise<Result<'joinWaitlist'>> {
    return this.#call('POST', `/v1/sales/${part(saleId)}/waitlist`, options, { body: wanted });
  }

  /** Leaves all waitlists of the sale. */
  leaveWaitlist(saleId: string, options: CallOptions = {}): Promise<Result<'leaveWaitlist'>> {
    return this.#call('DELETE', `/v1/sales/${part(saleId)}/waitlist`, options);
  }

  /** Follows a sale, and with a token the buyer's own reservations and waits, until it is closed. */
  watch(saleId: string, options: LiveOptions): LiveSale {
    return new LiveSale(
      {
        source: this,
        saleId,
        url: `${this.#url.replace(/^http/, 'ws')}/v1/sales/${part(saleId)}/live`,
        token: () => this.#currentToken(),
        openMsMax: this.#limits.responseMsMax,
      },
      options,
    );
  }

  async #currentToken(): Promise<string | undefined> {
    return typeof this.#token === 'function' ? this.#token() : this.#token;
  }

  #call<Id extends OperationId>(
    method: string,
    path: string,
    options: CallOptions,
    request: {
      headers?: Record<string, string>;
      body?: object | undefined;
      isPublic?: boolean;
      beforeAttempt?: () => Promise<void>;
    } = {},
  ): Promise<Result<Id>> {
    const { body, isPublic } = request;
    const headers = async () => {
      const token = isPublic ? undefined : await this.#currentToken();
      await request.beforeAttempt?.();
      return {
        ...request.headers,
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body ? { 'content-type': 'application/json' } : {}),
      };
    };
    return send<Id>(
      {
        url: `${this.#url}${path}`,
        method,
        headers,
        body: body ? JSON.stringify(body) : null,
      },
      { ...this.#limits, ...options },
    );
  }
}

function part(text: string): string {
  return encodeURIComponent(text);
}

/** 128 random bits. `crypto.randomUUID` does not exist on pages without https. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
