/** Admits requests: rate limits by client address and by buyer, and authentication. It makes no calls, in fixed memory. */
import type { HttpRequest, HttpResponse } from 'uWebSockets.js';
import type { ProblemCode } from '../../api/problems.ts';
import type { HotPathConfig } from '../../config.ts';
import { type ClientAddress, createClientAddress } from '../../process/client-address.ts';
import type { HttpExchange } from '../http/http-exchange.ts';
import {
  PROBLEM_RESPONSES,
  type PreparedResponse,
  problemResponse,
  WWW_AUTHENTICATE,
} from '../http/responses.ts';
import type { Authenticate, Credentials, CredentialsProblem } from './authenticate.ts';
import { type HashedBuyer, type HashedName, hashName } from './hashed-name.ts';
import { RateLimiter } from './rate-limiter.ts';

/** Handles a request of an authenticated buyer; `id` is the path parameter. */
export type BuyerHandler<Context> = (
  exchange: HttpExchange,
  id: string,
  buyer: HashedBuyer,
  context: Context,
) => void;

interface Rejection {
  code: ProblemCode;
  response: PreparedResponse;
}

/** The buyer, or the reason for the rejection. */
export type Admitted = HashedBuyer | Rejection;

const RATE_LIMITED: Rejection = {
  code: 'rate_limited',
  response: PROBLEM_RESPONSES.rate_limited,
};
export const UNAUTHORIZED: Record<CredentialsProblem, Rejection> = {
  invalid: { code: 'unauthorized', response: PROBLEM_RESPONSES.unauthorized },
  expired: unauthorized('The token has expired.'),
  not_yet_valid: unauthorized('The token is not valid yet.'),
};

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
    return this.#addressOf(new Uint8Array(response.getRemoteAddress()), () =>
      forwardedFor(request),
    );
  }

  /** False: the client's address is over its rate limit. */
  admitsAddress(response: HttpResponse, request: HttpRequest, nowMs: number): boolean {
    if (!this.#addresses) return true;
    const isAdmitted = this.#addresses.take(hashName(this.addressOf(response, request)), nowMs);
    if (!isAdmitted) this.#context.onLimited('address');
    return isAdmitted;
  }

  /** Authenticates the buyer of a request and applies the buyer's rate limit. */
  buyerOf(credentials: Credentials, nowMs: number): Admitted {
    const buyer = this.#context.authenticate(credentials);
    if (typeof buyer === 'string') return UNAUTHORIZED[buyer];
    return this.admitsBuyer(buyer, nowMs) ? buyer : RATE_LIMITED;
  }

  /** False: the buyer is over the rate limit. */
  admitsBuyer(buyer: HashedName, nowMs: number): boolean {
    const isAdmitted = this.#buyers?.take(buyer, nowMs) ?? true;
    if (!isAdmitted) this.#context.onLimited('buyer');
    return isAdmitted;
  }
}

function unauthorized(detail: string): Rejection {
  return {
    code: 'unauthorized',
    response: problemResponse('unauthorized', { detail }, [WWW_AUTHENTICATE]),
  };
}

function forwardedFor(request: HttpRequest): string {
  const values: string[] = [];
  request.forEach((name, value) => {
    if (name === 'x-forwarded-for') values.push(value);
  });
  return values.join(',');
}

/** A rate of 0 means no limit. */
function limiterOf(perSecond: number): RateLimiter | undefined {
  return perSecond === 0 ? undefined : new RateLimiter(perSecond);
}
