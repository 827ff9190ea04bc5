/** A webhook endpoint: a real HTTP server that keeps every message and responds as the test decides. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import type { ReservationData, SaleData, WebhookEvent } from '../../src/domain/webhook.ts';
import { http } from '../../src/process/node-http.ts';
import { type Scope, use } from '../use.ts';

export const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;

interface Received {
  id: string;
  path: string;
  payload: string;
  headers: Record<string, string>;
  /** As the library verified it; undefined: the signature was not valid. */
  message: Message | undefined;
  atMs: number;
}

interface Message {
  type: WebhookEvent;
  timestamp: string;
  data: Partial<ReservationData & SaleData>;
}

export type Responder = (response: ServerResponse, received: Received) => void;

export interface Receiver {
  url: string;
  received: Received[];
  /** The distinct message ids, sorted. */
  ids(): string[];
  /** How it responds from now on. */
  respond: Responder;
  /** The number of connections so far. */
  connections: number;
  close(): Promise<void>;
}

export const OK: Responder = (response) => void response.writeHead(204).end();
export const status =
  (code: number, headers: Record<string, string> = {}): Responder =>
  (response) =>
    void response.writeHead(code, headers).end();

export function useReceiver(scope: Scope, respond: Responder = OK): Promise<Receiver> {
  return use(scope, () => startReceiver(respond));
}

async function startReceiver(respond: Responder = OK): Promise<Receiver> {
  const received: Received[] = [];
  const server = http.createServer((request, response) => void receive(request, response));
  server.on('connection', (socket) => {
    receiver.connections += 1;
    socket.on('error', () => undefined); // The engine closes connections that take too long.
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const receiver: Receiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    received,
    ids: () => [...new Set(received.map(({ id }) => id))].sort(),
    respond,
    connections: 0,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return receiver;

  async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const payload = await readBody(request);
    const one = {
      id: String(request.headers['webhook-id']),
      path: request.url ?? '',
      payload,
      headers: request.headers as Record<string, string>,
      message: verify(payload, request.headers as Record<string, string>),
      atMs: performance.now(),
    };
    received.push(one);
    receiver.respond(response, one);
  }
}

function verify(payload: string, headers: Record<string, string>): Message | undefined {
  try {
    return new Webhook(SECRET).verify(payload, headers) as Message;
  } catch {
    return undefined;
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
