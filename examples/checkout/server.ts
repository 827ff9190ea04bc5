/** Serves `POST /webhooks`, which the engine calls, and `GET /payments`, which shows the state of all payments. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import type { Checkout } from './checkout.ts';
import type { Reservation } from './merchant-api.ts';

const BODY_BYTES_MAX = 64 * 1024;

interface WebhookMessage {
  type: string;
  data: { reservation?: Reservation };
}

export interface RunningServer {
  url: string;
  close(): Promise<void>;
}

export async function startServer(
  settings: { host: string; port: number; webhookSecret: string },
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
        response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify(checkout.counts));
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
    return 204;
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
