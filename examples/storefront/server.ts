/**
 * The server of the shop front: the page and its modules, the shop's login, and the payment, which it passes on to the
 * checkout. The page calls the engine itself. No request of this server reaches the engine.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Login } from './login.ts';
import { readPageFiles } from './page-files.ts';

export interface StorefrontSettings {
  host: string;
  port: number;
  /** As browsers reach it. It must list the origin of this server in CORS_ORIGINS. */
  hotPathUrl: string;
  saleId: string;
  jwtSecret: string;
  /** As this server reaches it. */
  checkoutUrl: string;
  paySecret: string;
  peoplePrefix: string;
}

export interface RunningStorefront {
  url: string;
  close(): Promise<void>;
}

const BODY_BYTES_MAX = 4 * 1024;
const CHECKOUT_TIMEOUT_MS = 30_000;

export async function startStorefront(settings: StorefrontSettings): Promise<RunningStorefront> {
  const { host, hotPathUrl, saleId, checkoutUrl, paySecret } = settings;
  const login = new Login(settings.jwtSecret, settings.peoplePrefix);
  const files = readPageFiles();
  const headers = securityHeaders(hotPathUrl);

  const server = createServer((request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    respond(request, response).catch((error: unknown) => {
      console.error('a request failed:', error);
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '').split('?')[0]!;
    const route = `${request.method} ${path}`;
    if (request.method === 'POST' && !isFromThisSite(request)) {
      return sendJson(response, 403, { detail: 'Other sites cannot use this shop.' });
    }
    switch (route) {
      case 'GET /settings':
        return sendJson(response, 200, { hotPathUrl, saleId });
      case 'POST /login':
        return signIn(response, login.newBuyer());
      case 'GET /token': {
        const buyerId = login.buyerOf(request);
        // A new visitor gets an account here.
        return signIn(response, buyerId ?? login.newBuyer());
      }
      case 'POST /pay':
        return pay(request, response);
      default: {
        const file = request.method === 'GET' ? files.get(path) : undefined;
        if (!file) return sendJson(response, 404, { detail: 'This path does not exist.' });
        response.writeHead(200, { 'content-type': file.contentType, 'cache-control': 'no-cache' });
        response.end(file.content);
      }
    }
  }

  function signIn(response: ServerResponse, buyerId: string): void {
    response.setHeader('set-cookie', login.cookieOf(buyerId));
    sendJson(response, 200, login.tokenOf(buyerId));
  }

  /** The checkout decides. Only this server can tell it who the buyer is. */
  async function pay(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const buyerId = login.buyerOf(request);
    if (!buyerId) return sendJson(response, 401, { detail: 'Sign in first.' });
    const { reservationId, card } = await readJson(request);
    const paid = await fetch(`${checkoutUrl}/pay`, {
      method: 'POST',
      headers: { authorization: `Bearer ${paySecret}`, 'content-type': 'application/json' },
      body: JSON.stringify({ reservationId, card, buyerId }),
      signal: AbortSignal.timeout(CHECKOUT_TIMEOUT_MS),
    }).catch(() => undefined);
    if (paid?.ok) return sendJson(response, 200, (await paid.json()) as object);
    // The outcome is unknown. Paying again is safe: the checkout charges a reservation once.
    sendJson(response, paid?.status === 422 ? 422 : 503, { detail: 'The payment did not finish.' });
  }

  server.listen(settings.port, host);
  await once(server, 'listening');
  return {
    url: `http://${host}:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Nothing from outside, except the engine's API. Trusted Types: no script of the page can write markup. */
function securityHeaders(hotPathUrl: string): Record<string, string> {
  const engine = new URL(hotPathUrl).origin;
  const policy = [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    `connect-src 'self' ${engine} ${engine.replace(/^http/, 'ws')}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ];
  return {
    'content-security-policy': policy.join('; '),
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-opener-policy': 'same-origin',
  };
}

/** Browsers send Origin with each POST. */
function isFromThisSite({ headers }: IncomingMessage): boolean {
  const { origin, host } = headers;
  return origin !== undefined && URL.canParse(origin) && new URL(origin).host === host;
}

/** An empty object if the body is no object in JSON, or too long. */
async function readJson(request: IncomingMessage): Promise<Record<string, unknown>> {
  let text = '';
  for await (const chunk of request) {
    text += String(chunk);
    if (text.length > BODY_BYTES_MAX) return {};
  }
  try {
    return { ...(JSON.parse(text) as object) };
  } catch {
    return {};
  }
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(body));
}
