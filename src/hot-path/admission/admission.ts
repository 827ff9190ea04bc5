/**
 * Who is let in to be served: an address that does not ask too often, and then a buyer whom we know and who does not
 * either. Costs no call and no growing memory.
 */
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import type { HotPathConfig } from '../../config.ts';
import type { Authenticate, Credentials } from './authenticate.ts';
import { type ClientAddress, createClientAddress } from './client-address.ts';
import { type HashedName, hashName } from './hashed-name.ts';
import { RateLimiter } from './rate-limiter.ts';

/** The buyer, or why there is none. */
export type Admitted = HashedName | 'unauthorized' | 'rate_limited';

export interface AdmissionParts {
  authenticate: Authenticate;
  config: Pick<
    HotPathConfig,
    'BUYER_REQUESTS_PER_SECOND' | 'ADDRESS_REQUESTS_PER_SECOND' | 'TRUSTED_PROXIES'
  >;
  /** A request was one too many. */
  onLimited: (by: 'buyer' | 'address') => void;
}

export class Admission {
  readonly #parts: AdmissionParts;
  readonly #addressOf: ClientAddress;
  readonly #buyers: RateLimiter | undefined;
  readonly #addresses: RateLimiter | undefined;

  constructor(parts: AdmissionParts) {
    const { BUYER_REQUESTS_PER_SECOND, ADDRESS_REQUESTS_PER_SECOND, TRUSTED_PROXIES } =
      parts.config;
    this.#parts = parts;
    this.#addressOf = createClientAddress(TRUSTED_PROXIES);
    this.#buyers = rateOf(BUYER_REQUESTS_PER_SECOND);
    this.#addresses = rateOf(ADDRESS_REQUESTS_PER_SECOND);
  }

  addressOf(response: HttpResponse, request: HttpRequest): string {
    return this.#addressOf(response, request);
  }

  /** False: too many requests from where this one comes from. */
  admitsAddress(response: HttpResponse, request: HttpRequest, nowMs: number): boolean {
    if (!this.#addresses) return true;
    const isAdmitted = this.#addresses.take(hashName(this.#addressOf(response, request)), nowMs);
    if (!isAdmitted) this.#parts.onLimited('address');
    return isAdmitted;
  }

  /** The buyer behind a request, or why it is refused. */
  buyerOf(shown: Credentials, nowMs: number): Admitted {
    const buyer = this.#parts.authenticate(shown);
    if (buyer === undefined) return 'unauthorized';
    return this.admitsBuyer(buyer, nowMs) ? buyer : 'rate_limited';
  }

  /** False: too many requests of a buyer who is known already. */
  admitsBuyer(buyer: HashedName, nowMs: number): boolean {
    const isAdmitted = this.#buyers?.take(buyer, nowMs) ?? true;
    if (!isAdmitted) this.#parts.onLimited('buyer');
    return isAdmitted;
  }
}

/** A rate of 0 is none. */
function rateOf(perSecond: number): RateLimiter | undefined {
  return perSecond === 0 ? undefined : new RateLimiter(perSecond);
}
