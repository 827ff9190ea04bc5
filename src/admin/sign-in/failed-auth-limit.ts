/**
 * Slows token guessing: after too many wrong tokens from an address, its requests are refused whether the token is
 * right or not. A token that was right from that address before remains accepted.
 */
import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { LRUCache } from 'lru-cache';
import type { Principal } from '../context.ts';
import type { Refusal } from '../http/outcome.ts';
import { refuse } from '../http/outcome.ts';

const WRONG_TOKENS_PER_MINUTE_MAX = 100;
/** Remembered pairs of token and address, least recently used evicted; the plugin itself counts 5,000 addresses. */
const PAIRS_MAX = 10_000;

export interface FailedAuthLimit {
  /**
   * Takes the principal of the credentials that a request has, or undefined if they are wrong, which counts. Decides
   * whether to admit the request.
   */
  decide(request: FastifyRequest, principal: Principal | undefined): Promise<Principal | Refusal>;
  /** Refuses an address that has sent too many wrong ones, before its credentials are looked at. */
  refusalOf(request: FastifyRequest): Promise<Refusal | undefined>;
}

export async function createFailedAuthLimit(app: FastifyInstance): Promise<FailedAuthLimit> {
  await app.register(rateLimit, { global: false });
  const wrongTokens = app.createRateLimit({
    max: WRONG_TOKENS_PER_MINUTE_MAX,
    timeWindow: 60_000,
    keyGenerator: (request) => request.clientAddress,
  });
  const seen = new LRUCache<string, true>({ max: PAIRS_MAX });

  const limit = async (request: FastifyRequest, increment: boolean) => {
    // A client that has disconnected receives no response.
    if (request.clientAddress === '') return refuse('unauthorized');
    const count = await wrongTokens(request, { increment });
    if (count.isAllowed || !count.isExceeded) return undefined;
    const headers = { 'Retry-After': String(count.ttlInSeconds) };
    return { ...refuse('rate_limited'), headers };
  };

  return {
    decide: async (request, principal) => {
      const pair = `${principal?.actor} ${request.clientAddress}`;
      if (principal && seen.has(pair)) return principal;
      const refusal = await limit(request, !principal);
      if (refusal) return refusal;
      if (!principal) return refuse('unauthorized');
      seen.set(pair, true);
      return principal;
    },
    refusalOf: (request) => limit(request, false),
  };
}
