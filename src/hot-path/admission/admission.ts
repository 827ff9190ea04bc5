/** Admits requests: rate limits by client address and by buyer, and authentication. It makes no calls, in fixed memory. */
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import type { HotPathConfig } from '../../config.ts';
import type { HttpExchange } from '../http/http-exchange.ts';
import type { Authenticate, Credentials } from './authenticate.ts';
import { type ClientAddress, createClientAddress } from './client-address.ts';
import { type HashedName, hashName } from './hashed-name.ts';
import { RateLimiter } from './rate-limiter.ts';

/** Handles a request of an authenticated buyer; `id` is the path parameter. */
export type BuyerHandler<Context> = (
  exchange: HttpExchange,
  id: string,
  buyer: HashedName,
  context: Context,
) => void;

/** The buyer, or the reason for the rejection. */
export type Admitted = HashedName | 'unauthorized' | 'rate_limited';

export interface AdmissionContext {
  authenticate: Authenticate;
  config: Pick<
    HotPathConfig,
    'BUYER_REQUESTS_PER_SECOND' | 'ADDRESS_REQUESTS_PER_SECOND' | 'TRUSTED_PROXIES'
  >;
  /** A rate limit refused a request. */
  onLimited: (by: 'buyer' | 'address') => void;
}

export class Admission {
  readonly #context: AdmissionContext;
  readonly #addressOf: ClientAddress;
  readonly #buyers: RateLimiter | undefined;
  readonly #addresses: RateLimiter | undefined;

  constructor(context: AdmissionContext) {
    const { BUYER_REQUESTS_PER_SECOND, ADDRESS_REQUESTS_PER_SECOND, TRUSTED_PROXIES } =
      context.config;
    this.#context = context;
    this.#addressOf = createClientAddress(TRUSTED_PROXIES);
    this.#buyers = limiterOf(BUYER_REQUESTS_PER_SECOND);
    this.#addresses = limiterOf(ADDRESS_REQUESTS_PER_SECOND);
  }

  addressOf(response: HttpResponse, request: HttpRequest): string {
    return this.#addressOf(response, request);
  }

  /** False: the client's address is over its rate limit. */
  admitsAddress(response: HttpResponse, request: HttpRequest, nowMs: number): boolean {
    if (!this.#addresses) return true;
    const isAdmitted = this.#addresses.take(hashName(this.#addressOf(response, request)), nowMs);
    if (!isAdmitted) this.#context.onLimited('address');
    return isAdmitted;
  }

  /** Authenticates the buyer of a request and applies the buyer's rate limit. */
  buyerOf(credentials: Credentials, nowMs: number): Admitted {
    const buyer = this.#context.authenticate(credentials);
    if (buyer === undefined) return 'unauthorized';
    return this.admitsBuyer(buyer, nowMs) ? buyer : 'rate_limited';
  }

  /** False: the buyer is over the rate limit. */
  admitsBuyer(buyer: HashedName, nowMs: number): boolean {
    const isAdmitted = this.#buyers?.take(buyer, nowMs) ?? true;
    if (!isAdmitted) this.#context.onLimited('buyer');
    return isAdmitted;
  }
}

/** A rate of 0 means no limit. */
function limiterOf(perSecond: number): RateLimiter | undefined {
  return perSecond === 0 ? undefined : new RateLimiter(perSecond);
}
