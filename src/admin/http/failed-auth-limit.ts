/**
 * Slows token guessing: after too many wrong tokens from an address, its requests are refused whether the token is
 * right or not. A token that was right from that address before remains accepted.
 */
import rateLimit from '@fastify/rate-limit';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { LRUCache } from 'lru-cache';
import { createClientAddress } from '../../process/client-address.ts';
import type { Principal } from './authenticate.ts';

const WRONG_TOKENS_PER_MINUTE_MAX = 100;
/** Remembered pairs of token and address, least recently used evicted; the plugin itself counts 5,000 addresses. */
const PAIRS_MAX = 10_000;

type AuthOutcome =
  | { principal: Principal }
  | { refused: 'unauthorized' }
  | { refused: 'rate_limited'; retryAfterSeconds: number };

/** Takes a request and the principal of its token, if the token is right; decides whether to admit it. */
export type FailedAuthLimit = (
  request: FastifyRequest,
  principal: Principal | undefined,
) => Promise<AuthOutcome>;

/** Adds `clientAddress` to every request. Fastify's own `ip` keeps the port that some balancers append. */
export function setClientAddress(app: FastifyInstance, trustedProxies: readonly string[]): void {
  const addressOf = createClientAddress(trustedProxies);
  app.decorateRequest('clientAddress', '');
  app.addHook('onRequest', async (request) => {
    const { remoteAddress } = request.socket;
    // A client that has disconnected has no address.
    if (!remoteAddress) return;
    const header = request.headers['x-forwarded-for'] ?? '';
    request.clientAddress = addressOf(remoteAddress, () => String(header));
  });
}

declare module 'fastify' {
  interface FastifyRequest {
    /** The network that counts as one client. Empty: the client has disconnected. */
    clientAddress: string;
  }
}

export async function createFailedAuthLimit(app: FastifyInstance): Promise<FailedAuthLimit> {
  await app.register(rateLimit, { global: false });
  const wrongTokens = app.createRateLimit({
    max: WRONG_TOKENS_PER_MINUTE_MAX,
    timeWindow: 60_000,
    keyGenerator: (request) => request.clientAddress,
  });
  const seen = new LRUCache<string, true>({ max: PAIRS_MAX });

  return async (request, principal) => {
    const { clientAddress } = request;
    // A client that has disconnected receives no response.
    const isGone = clientAddress === '';
    if (request.headers.authorization === undefined || isGone) return { refused: 'unauthorized' };
    const pair = `${principal?.actor} ${clientAddress}`;
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
