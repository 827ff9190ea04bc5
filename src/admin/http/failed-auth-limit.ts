/**
 * Slows whoever guesses tokens: an address that has shown too many wrong ones is no longer told whether the next one
 * is right. Who has shown a right one from there before is not held up by a guesser next door.
 */
import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { LRUCache } from 'lru-cache';
import type { Principal } from './authenticate.ts';

const WRONG_TOKENS_PER_MINUTE_MAX = 100;
/** Pairs of token and address that are remembered, those used last; the plugin itself counts 5,000 addresses. */
const PAIRS_MAX = 10_000;

export type AuthOutcome =
  | { principal: Principal }
  | { refused: 'unauthorized' }
  | { refused: 'rate_limited'; retryAfterSeconds: number };

/** Takes a request, and whose token it shows as far as that is right, to who is let in. */
export type FailedAuthLimit = (
  request: FastifyRequest,
  principal: Principal | undefined,
) => Promise<AuthOutcome>;

export async function createFailedAuthLimit(app: FastifyInstance): Promise<FailedAuthLimit> {
  await app.register(rateLimit, { global: false });
  const wrongTokens = app.createRateLimit({
    max: WRONG_TOKENS_PER_MINUTE_MAX,
    timeWindow: 60_000,
  });
  const seen = new LRUCache<string, true>({ max: PAIRS_MAX });

  return async (request, principal) => {
    // Who has hung up already has no address, and hears no answer.
    const isGone = !request.ip;
    if (request.headers.authorization === undefined || isGone) return { refused: 'unauthorized' };
    const pair = `${principal?.actor} ${request.ip}`;
    if (principal && seen.has(pair)) return { principal };
    const count = await wrongTokens(request, { increment: !principal });
    if (!count.isAllowed && count.isExceeded) {
      return { refused: 'rate_limited', retryAfterSeconds: count.ttlInSeconds };
    }
    if (!principal) return { refused: 'unauthorized' };
    seen.set(pair, true);
    return { principal };
  };
}
