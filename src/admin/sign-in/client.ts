/** What a request says about its client: the network that it comes from, and whether the client used HTTPS. */
import type { FastifyInstance } from 'fastify';
import { createClientAddress, createProxyTrust } from '../../process/client-address.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** The network that counts as one client. Empty: the client has disconnected. */
    clientAddress: string;
    /** Whether the client used HTTPS, to a proxy in front of this process. */
    isHttps: boolean;
  }
}

/** Adds `clientAddress` and `isHttps` to every request. Fastify's own `ip` keeps the port that some balancers append. */
export function setClient(app: FastifyInstance, trustedProxies: readonly string[]): void {
  const addressOf = createClientAddress(trustedProxies);
  const isTrusted = createProxyTrust(trustedProxies);
  app.decorateRequest('clientAddress', '');
  app.decorateRequest('isHttps', false);
  app.addHook('onRequest', async (request) => {
    const { remoteAddress } = request.socket;
    // A client that has disconnected has no address.
    if (!remoteAddress) return;
    const { headers } = request;
    request.clientAddress = addressOf(remoteAddress, () =>
      String(headers['x-forwarded-for'] ?? ''),
    );
    const [protocol = ''] = String(headers['x-forwarded-proto'] ?? '').split(',');
    request.isHttps =
      // A browser sends the origin of its page, also through a proxy that is not listed as trusted.
      headers.origin?.startsWith('https://') === true ||
      (protocol.trim().toLowerCase() === 'https' && isTrusted(remoteAddress));
  });
}
