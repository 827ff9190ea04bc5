/**
 * Serves `POST /webhooks`, which the engine calls, `POST /pay`, which the shop front's server calls, and `GET /payments`,
 * which shows the state of all payments.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import type { Checkout } from './checkout.ts';
import type { Reservation } from './merchant-api.ts';
import type { Card } from './payment-provider.ts';

const BODY_BYTES_MAX = 64 * 1024;

const CARDS: readonly string[] = ['works', 'refused'] satisfies Card[];

interface WebhookMessage {
  type: string;
  data: { reservation?: Reservation };
}

export interface RunningServer {
  url: string;
  close(): Promise<void>;
}

export async function startServer(
  settings: { host: string; port: number; webhookSecret: string; paySecret?: string | undefined },
  checkout: Checkout,
): Promise<RunningServer> {
  const webhook = new Webhook(settings.webhookSecret);
  const server = createServer((request, response) => {
    respond(request, response).catch((error: unknown) => {
      console.error('a request failed:', error);
      // The engine retries after any status but 2xx.
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    switch (`${request.method} ${request.url}`) {
      case 'POST /webhooks':
        response.writeHead(await receiveWebhook(request)).end();
        return;
      case 'GET /payments':
        sendJson(response, 200, checkout.counts);
        return;
      case 'POST /pay':
        await pay(request, response);
        return;
      default:
        response.writeHead(404).end();
    }
  }

  /** Returns the response's status. It must be fast, because the engine waits for it. */
  async function receiveWebhook(request: IncomingMessage): Promise<number> {
    const body = await readBody(request);
    if (body === undefined) return 413;
    let message: WebhookMessage;
    try {
      // Over the received bytes: JSON that is parsed and serialized again has another signature.
      message = webhook.verify(body, request.headers as Record<string, string>) as WebhookMessage;
    } catch {
      return 400;
    }
    const { reservation } = message.data;
    // An extension also sends `reservation.reserved`; like a duplicate, it has no effect.
    if (reservation && message.type === 'reservation.reserved') checkout.accept(reservation);
    if (reservation && message.type === 'reservation.cancelled') await checkout.refund(reservation);
    if (reservation && message.type === 'reservation.partly_cancelled') {
      await checkout.refundPart(reservation);
    }
    return 204;
  }

  /** `{reservationId, buyerId, card}`: the shop front knows who the buyer is, because it has signed the buyer in. */
  async function pay(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { paySecret } = settings;
    if (!paySecret || !isEqual(request.headers.authorization ?? '', `Bearer ${paySecret}`)) {
      return sendJson(response, 401, { detail: 'Send the secret of the shop front.' });
    }
    const payment = parsePayment(await readBody(request));
    if (!payment) {
      const detail = `The body must be {reservationId, buyerId, card}; card is ${CARDS.join(' or ')}.`;
      return sendJson(response, 422, { detail });
    }
    const { reservationId, buyerId, card } = payment;
    sendJson(response, 200, { outcome: await checkout.pay(reservationId, buyerId, card) });
  }

  server.listen(settings.port, settings.host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${settings.host}:${port}`,
    close: async () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Returns undefined if the body is too long. */
async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

interface Payment {
  reservationId: string;
  buyerId: string;
  card: Card;
}

function parsePayment(body: Buffer | undefined): Payment | undefined {
  try {
    const payment = JSON.parse(String(body)) as Record<keyof Payment, unknown>;
    const { reservationId, buyerId, card } = payment;
    const isValid =
      [reservationId, buyerId].every((id) => typeof id === 'string' && id !== '') &&
      CARDS.includes(card as string);
    return isValid ? (payment as Payment) : undefined;
  } catch {
    return undefined;
  }
}

/** In a time that does not depend on where they differ. */
function isEqual(a: string, b: string): boolean {
  const digestOf = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digestOf(a), digestOf(b));
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
